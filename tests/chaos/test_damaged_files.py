"""A checkpoint that was cut after it was written: its trial starts again, and the search ends as it would have."""

from collections.abc import Callable
from pathlib import Path

import pytest
from plain_engine import Killed, run_all
from searches import Searches, check_nothing_counted_twice, checkpoints, decisions, num_scores
from studies import make_source

from ell_tune.runs.budget import Budget

BUDGET = Budget(num_trials=5)


def cut(checkpoint: Path) -> None:
    state = checkpoint / "state.json"
    state.write_bytes(state.read_bytes()[:-5])


def empty(checkpoint: Path) -> None:
    (checkpoint / "state.json").write_bytes(b"")


def lose(checkpoint: Path) -> None:
    (checkpoint / "state.json").unlink()


def cut_marker(checkpoint: Path) -> None:
    marker = checkpoint / ".complete"
    marker.write_bytes(marker.read_bytes()[:-5])


DAMAGES = [cut, empty, lose, cut_marker]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_costs_its_trial_what_it_had_trained_and_nothing_else(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    undisturbed, reference = make_source(tmp_path / "reference", BUDGET)
    run_all(undisturbed, tmp_path / "a")

    trace = tmp_path / "trace"
    killed, study = make_source(tmp_path / "study", BUDGET, base={"trace": str(trace)})
    with pytest.raises(Killed):
        run_all(killed, Path(study.artifacts), kill_after_reports=3)
    assert checkpoints(study.study_dir) == ["trial-0000/checkpoint-000002"]
    damage(study.study_dir / "trials" / "trial-0000" / "checkpoint-000002")
    resumed, study = make_source(tmp_path / "study", BUDGET, base={"trace": str(trace)})
    run_all(resumed, Path(study.artifacts))

    first_evaluations = [line.split()[-1] for line in trace.read_text().splitlines()]
    assert first_evaluations == ["1"] * (BUDGET.num_trials + 1)
    for known, expected in zip(decisions(study.record()), decisions(reference.record()), strict=True):
        *rest, config, params = expected
        assert known == (*rest, {**config, "trace": str(trace)}, params)
    check_nothing_counted_twice(study.study_dir, BUDGET.num_trials)
    assert checkpoints(study.study_dir) == []


def test_a_half_written_checkpoint_of_a_killed_worker_is_not_left_behind(tmp_path: Path) -> None:
    source, study = make_source(tmp_path / "study", BUDGET)
    half_written = study.study_dir / "trials" / "trial-0000" / "checkpoint-000007"
    half_written.mkdir(parents=True)
    (half_written / "state.json").write_text('{"st')
    run_all(source, Path(study.artifacts))
    assert [list(trial.curve) for trial in study.record().trials][0] == [1, 2, 3, 4]
    assert checkpoints(study.study_dir) == []


@pytest.mark.chaos
@pytest.mark.timeout(1800)
def test_a_search_goes_on_with_a_trial_whose_checkpoint_was_cut(tmp_path: Path, ray_address: str) -> None:
    searches = Searches(tmp_path, ray_address, base={"seconds_per_step": 0.2, "trace": str(tmp_path / "trace")})
    with searches.start(2, "--max-concurrent", 1) as search:
        assert search.wait_until(lambda: num_scores(searches.study_dir) >= 2)
        search.kill()
    [checkpoint] = checkpoints(searches.study_dir)
    cut(searches.study_dir / "trials" / checkpoint)
    ended = searches.run(2, "--max-concurrent", 1)
    assert ended.code == 0, ended.err
    # Trial 0 once more from its start, and then trial 1.
    assert [line.split()[::2] for line in (tmp_path / "trace").read_text().splitlines()] == [
        ["0", "1"],
        ["0", "1"],
        ["1", "1"],
    ]
    assert [list(trial.curve) for trial in searches.record().trials] == [[1, 2, 3, 4]] * 2
    check_nothing_counted_twice(searches.study_dir, 2)
    assert checkpoints(searches.study_dir) == []
