"""Two `search` commands on one study: one searches, the other is refused and told which; a dead one holds nothing."""

from pathlib import Path

import pytest
from searches import Searches, check_kept, check_nothing_counted_twice, journal_bytes

from ell_tune.studies.study_lock import is_held

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]


def hanging(folder: Path) -> dict[str, str]:
    """The first fit that gets to its second evaluation stays there, so that its search goes on until it is killed."""
    return {"fault": f"hang_once:{folder / 'hangs'}"}


def test_a_second_search_is_refused_and_told_who_holds_the_study_until_that_one_dies(
    tmp_path: Path, ray_address: str
) -> None:
    searches = Searches(tmp_path, ray_address, base=hanging(tmp_path))
    with searches.start(2, "--max-concurrent", 1) as holder:
        assert holder.wait_until((tmp_path / "hangs").exists)
        before = journal_bytes(searches.study_dir)
        refused = searches.run(2, "--max-concurrent", 1)
        assert refused.code == 2 and refused.err.count("\n") == 1
        assert f"it is held by process {holder.process.pid} on host " in refused.err
        assert journal_bytes(searches.study_dir) == before and holder.process.poll() is None
        record = searches.record()
        holder.kill()
    assert not is_held(searches.study_dir)
    ended = searches.run(2, "--max-concurrent", 1)
    assert ended.code == 0, ended.err
    check_kept(record, searches.record())
    check_nothing_counted_twice(searches.study_dir, 2)


def test_of_two_searches_that_start_a_study_at_once_one_does_and_the_other_is_refused(
    tmp_path: Path, ray_address: str
) -> None:
    searches = Searches(tmp_path, ray_address, base=hanging(tmp_path))
    with searches.start(1) as one, searches.start(1) as other:
        assert one.wait_until(lambda: other.process.poll() is not None) or one.process.poll() is not None
        loser, winner = (one, other) if one.process.poll() is not None else (other, one)
        ended = loser.ended()
        assert ended.code == 2, ended
        assert ended.err.startswith("error: ") and ended.err.count("\n") == 1 and "study" in ended.err
        assert winner.wait_until((tmp_path / "hangs").exists)
        winner.kill()
    assert [path.name for path in tmp_path.glob(".study*")] == []
    ended = searches.run(1)
    assert ended.code == 0, ended.err
    check_nothing_counted_twice(searches.study_dir, 1)
