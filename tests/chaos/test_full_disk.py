"""The disk of the study is full, or read-only: a user's error, whatever hits it first, and nothing half-written."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow.fs
import pytest
import torch
from disks import Disk, small_disk
from plain_engine import run_all
from safetensors.torch import save_file
from searches import (
    Ended,
    Searches,
    check_kept,
    check_nothing_counted_twice,
    checkpoints,
    decisions,
    journal_bytes,
    num_scores,
)
from studies import essays, make_source, write_space

from ell_tune.choosing.search_spec import load_search_spec
from ell_tune.errors import UserError
from ell_tune.essays.folds import make_folds
from ell_tune.files.disk import needs_to_write
from ell_tune.runs.budget import Budget
from ell_tune.studies.study import Study, create_study
from ell_tune.studies.study_lock import hold_study, is_held

NUM_TRIALS = 6


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with small_disk(tmp_path / "disk") as disk:
        yield disk


def undisturbed(folder: Path, num_trials: int = NUM_TRIALS) -> Study:
    source, study = make_source(folder / "reference", Budget(num_trials))
    run_all(source, folder / "reference-artifacts")
    return study


def test_a_journal_that_cannot_grow_ends_the_search_with_whole_lines_and_it_goes_on(tmp_path: Path, disk: Disk) -> None:
    source, study = make_source(disk.path / "study", Budget(3))
    run_all(source, tmp_path / "artifacts")
    before = journal_bytes(study.study_dir)
    disk.fill()
    source, _ = make_source(disk.path / "study", Budget(NUM_TRIALS))
    with pytest.raises(UserError, match=r"disk/study: files must be written there, but the disk is full\. Nothing"):
        run_all(source, tmp_path / "artifacts")
    after = journal_bytes(study.study_dir)
    assert after.startswith(before) and after.endswith(b"\n")
    disk.make_room()
    source, study = make_source(disk.path / "study", Budget(NUM_TRIALS))
    run_all(source, tmp_path / "artifacts")
    assert decisions(study.record()) == decisions(undisturbed(tmp_path).record())
    check_nothing_counted_twice(study.study_dir, NUM_TRIALS)


def test_a_checkpoint_that_does_not_fit_leaves_the_last_one_and_the_trial_goes_on_from_it(
    tmp_path: Path, disk: Disk
) -> None:
    class Filling:
        """Fills the disk after the second evaluation, which is when the third checkpoint is to be written."""

        def __init__(self, source: object) -> None:
            self._source = source

        def __getattr__(self, name: str) -> object:
            return getattr(self._source, name)

        def on_progress(self, job: object, progress: object, seconds: float) -> bool:
            goes_on: bool = self._source.on_progress(job, progress, seconds)  # type: ignore[attr-defined]
            if progress.step == 2:  # type: ignore[attr-defined]
                disk.fill()
            return goes_on

    source, study = make_source(tmp_path / "study", Budget(1))
    artifacts = disk.path / "trials"
    with pytest.raises(UserError, match=r"disk/trials/trial-0000: files must be written there, but the disk is full"):
        run_all(Filling(source), artifacts)  # type: ignore[arg-type]
    assert [path.name for path in (artifacts / "trial-0000").iterdir()] == ["checkpoint-000001"]
    disk.make_room()
    source, study = make_source(tmp_path / "study", Budget(1))
    run_all(source, artifacts)
    assert [list(trial.curve) for trial in study.record().trials] == [[1, 2, 3, 4]]
    check_nothing_counted_twice(study.study_dir, 1)


def test_no_study_is_half_made_on_a_full_disk(tmp_path: Path, disk: Disk) -> None:
    spec = load_search_spec(write_space(tmp_path / "space.yaml"))
    folds = make_folds(essays(), spec.study.num_folds, spec.study.seed)
    disk.fill()
    with pytest.raises(UserError, match="no space left on device|the disk is full"):
        create_study(disk.path / "study", spec, essays(), folds)
    assert [path.name for path in disk.path.iterdir()] == ["filler"]
    disk.make_room()
    assert create_study(disk.path / "study", spec, essays(), folds).record().trials == ()


@pytest.mark.parametrize("full", [True, False])
def test_a_study_that_cannot_be_written_is_not_held(disk: Disk, full: bool) -> None:
    if full:
        (disk.path / "holder.json").touch()
        disk.fill()
    else:
        disk.set_writable(False)
    problem = "full" if full else "read-only"
    with pytest.raises(UserError, match=f"disk: files must be written there, but the disk is {problem}"):
        with hold_study(disk.path):
            pass
    assert not is_held(disk.path)


WRITERS = {
    "python": lambda path: path.write_bytes(bytes(2_000_000)),
    "torch": lambda path: torch.save(torch.zeros(500_000), path),
    "safetensors": lambda path: save_file({"weights": torch.zeros(500_000)}, path),
    "pyarrow": lambda path: pyarrow.fs.LocalFileSystem().open_output_stream(str(path)).write(bytes(2_000_000)),
}


@pytest.mark.parametrize("library", WRITERS)
def test_a_full_disk_is_told_as_such_whatever_library_writes(disk: Disk, library: str) -> None:
    with pytest.raises(UserError, match=r"disk: files must be written there, but the disk is full\."):
        with needs_to_write(disk.path):
            WRITERS[library](disk.path / "weights")


def test_what_is_not_the_disks_fault_is_passed_on(tmp_path: Path) -> None:
    for error in [FileNotFoundError(2, "No such file or directory"), RuntimeError("a bug"), PermissionError(13, "no")]:
        with pytest.raises(type(error)) as raised, needs_to_write(tmp_path):
            raise error
        assert raised.value is error


def check_refused(ended: Ended, problem: str) -> None:
    assert ended.code == 2, ended
    assert ended.err.startswith("error: ") and ended.err.count("\n") == 1 and problem in ended.err


@pytest.mark.chaos
@pytest.mark.timeout(1800)
def test_a_disk_that_fills_up_during_a_search_and_before_the_next(tmp_path: Path, disk: Disk, ray_address: str) -> None:
    searches = Searches(tmp_path, ray_address, study_dir=disk.path / "study")
    words = ["--max-concurrent", 1]
    with searches.start(NUM_TRIALS, *words) as search:
        assert search.wait_until(lambda: num_scores(searches.study_dir) >= 5)
        disk.fill()
        ended = search.ended()
    check_refused(ended, "the disk is full")
    first = searches.record()
    assert journal_bytes(searches.study_dir).endswith(b"\n") and sum(trial.steps for trial in first.trials) >= 5

    before = journal_bytes(searches.study_dir)
    check_refused(searches.run(NUM_TRIALS, *words), "the disk is full")
    assert journal_bytes(searches.study_dir).startswith(before)

    disk.make_room()
    ended = searches.run(NUM_TRIALS, *words)
    assert ended.code == 0, ended.err
    check_kept(first, searches.record())
    check_nothing_counted_twice(searches.study_dir, NUM_TRIALS)
    assert decisions(searches.record()) == decisions(undisturbed(tmp_path).record())
    assert checkpoints(searches.study_dir) == []


@pytest.mark.chaos
@pytest.mark.timeout(1800)
def test_a_study_on_a_read_only_disk_is_refused_and_goes_on_once_it_can_be_written(
    tmp_path: Path, disk: Disk, ray_address: str
) -> None:
    searches = Searches(tmp_path, ray_address, study_dir=disk.path / "study")
    assert searches.run(2).code == 0
    before, record = journal_bytes(searches.study_dir), searches.record()
    disk.set_writable(False)
    check_refused(searches.run(4), "the disk is read-only")
    assert journal_bytes(searches.study_dir) == before
    assert decisions(searches.record()) == decisions(record)  # readers need no leave to write
    disk.set_writable(True)
    ended = searches.run(4)
    assert ended.code == 0, ended.err
    check_kept(record, searches.record())
    check_nothing_counted_twice(searches.study_dir, 4)
