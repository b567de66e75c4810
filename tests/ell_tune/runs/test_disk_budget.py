"""Which trials keep their weights: the policy on numbers, then on files through random searches that never ran."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ell_tune.files.artifacts import WEIGHTS_ITEM, ArtifactFolder, all_item_sizes, delete_checkpoints
from ell_tune.runs.disk_budget import KeptWeights, num_kept
from ell_tune.trials.records import TrialRecord, TrialState

SIZES = st.lists(st.integers(0, 50), max_size=8)


@given(SIZES, st.integers(0, 100), st.integers(0, 200))
def test_as_many_of_the_best_keep_theirs_as_fit_and_not_one_more(sizes: list[int], other: int, budget: int) -> None:
    kept = num_kept(sizes, other, budget)
    assert kept == 0 or other + sum(sizes[:kept]) <= budget
    assert kept == len(sizes) or other + sum(sizes[: kept + 1]) > budget


def record(number: int, score: float, state: TrialState = TrialState.COMPLETE) -> TrialRecord:
    now = datetime.now(UTC)
    curve: Mapping[int, float] = {1: score}
    return TrialRecord(number, state, score, 1, 1, 1.0, 1.0, {}, curve, {}, {}, None, now, now)


def files(num_bytes: int) -> Callable[[Path], None]:
    def write(directory: Path) -> None:
        (directory / "w.bin").write_bytes(bytes(num_bytes))

    return write


def publish(root: Path, number: int, item: str, num_bytes: int) -> int:
    """Leaves an item and tells what it takes with its marker."""
    folder = ArtifactFolder(str(root), f"trial-{number:04d}")
    folder.publish(item, files(num_bytes))
    return folder.item_sizes()[item]


def on_disk(root: Path) -> int:
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file())


def keeping(root: Path) -> set[int]:
    return {int(path.parent.name[-4:]) for path in root.glob("*/weights")}


EVENTS = st.lists(
    st.tuples(st.sampled_from(["checkpoint", "end", "resume"]), st.integers(0, 400), st.integers(0, 5)), max_size=12
)


@settings(max_examples=20)
@given(EVENTS, st.integers(0, 1500))
def test_after_every_event_it_fits_or_no_weights_are_left_and_only_the_worst_have_gone(
    events: list[tuple[str, int, int]], budget: int
) -> None:
    with TemporaryDirectory() as folder:
        root, ended, under_way = Path(folder), list[TrialRecord](), 0
        kept = KeptWeights(folder, budget, [])
        for event, num_bytes, score in events:
            before = keeping(root)
            match event:
                case "checkpoint":
                    publish(root, under_way, "checkpoint-000000", num_bytes)
                    kept.changed(under_way)
                case "end":
                    publish(root, under_way, WEIGHTS_ITEM, num_bytes)
                    delete_checkpoints(ArtifactFolder(folder, f"trial-{under_way:04d}"))
                    before.add(under_way)
                    ended.append(record(under_way, float(score)))
                    kept.ended(ended[-1])
                    under_way += 1
                case "resume":
                    budget = num_bytes
                    kept = KeptWeights(folder, budget, ended)
            now = keeping(root)
            assert on_disk(root) <= budget or not now
            best_first = [trial.number for trial in sorted(ended, key=lambda t: (t.score, t.number))]
            ranking = [number for number in best_first if number in before]
            assert now == set(ranking[: len(now)])
            assert all((root / f"trial-{number:04d}" / "weights" / ".complete").exists() for number in now)


def test_the_worst_go_first_and_do_not_come_back_and_checkpoints_stay(tmp_path: Path) -> None:
    one = publish(tmp_path, 0, WEIGHTS_ITEM, 1000)
    kept = KeptWeights(str(tmp_path), 3 * one + 10, [record(0, 0.5)])
    for number, score in [(1, 0.4), (2, 0.6)]:
        publish(tmp_path, number, WEIGHTS_ITEM, 1000)
        kept.ended(record(number, score))
    assert keeping(tmp_path) == {0, 1, 2}
    publish(tmp_path, 3, "checkpoint-000000", 1100)  # takes the room of two
    kept.changed(3)
    assert keeping(tmp_path) == {1}
    delete_checkpoints(ArtifactFolder(str(tmp_path), "trial-0003"))
    kept.ended(record(3, 0.3, TrialState.STOPPED))
    assert keeping(tmp_path) == {1}
    publish(tmp_path, 4, "checkpoint-000000", 5000)  # more than the budget, all alone
    kept.changed(4)
    assert keeping(tmp_path) == set()
    assert list(all_item_sizes(str(tmp_path))) == ["trial-0004"]


def test_what_a_smaller_budget_takes_away_is_counted(tmp_path: Path) -> None:
    one = [publish(tmp_path, number, WEIGHTS_ITEM, 1000) for number in range(3)][0]
    ended = [record(number, 0.5 + number / 10) for number in range(3)]
    kept = KeptWeights(str(tmp_path), one, ended)
    assert (kept.num_dropped, kept.is_over, keeping(tmp_path)) == (2, False, {0})
    publish(tmp_path, 3, "checkpoint-000000", 5000)
    kept = KeptWeights(str(tmp_path), one, [*ended, record(3, 0.4, TrialState.RUNNING)])
    assert (kept.num_dropped, kept.is_over, keeping(tmp_path)) == (1, True, set())


@pytest.mark.parametrize("state", [TrialState.LOST, TrialState.COMPLETE])
def test_weights_of_a_lost_trial_and_half_deleted_ones_go_when_the_study_goes_on(
    tmp_path: Path, state: TrialState
) -> None:
    publish(tmp_path, 0, WEIGHTS_ITEM, 1000)
    if state == TrialState.COMPLETE:  # the process died after the marker had gone
        (tmp_path / "trial-0000" / "weights" / ".complete").unlink()
    KeptWeights(str(tmp_path), 1e9, [record(0, 0.5, state)])
    assert keeping(tmp_path) == set()


def test_weights_of_a_trial_whose_end_was_not_told_stay(tmp_path: Path) -> None:
    publish(tmp_path, 0, WEIGHTS_ITEM, 1000)
    kept = KeptWeights(str(tmp_path), 10, [record(0, 0.5, TrialState.RUNNING)])
    assert keeping(tmp_path) == {0}
    kept.ended(record(0, 0.5))
    assert keeping(tmp_path) == set()
