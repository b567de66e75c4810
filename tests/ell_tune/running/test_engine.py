"""The engine on a real Ray, with a trainable of milliseconds and faults that it injects into its own process."""

import gc
import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ray.tune.experiment import Trial
from studies import essays

from ell_tune.errors import Interrupted, TrainableBug, UserError
from ell_tune.files.artifacts import RESULT_ITEM, WEIGHTS_ITEM, ArtifactFolder, FitCheckpoints
from ell_tune.running.engine import Resources, run_jobs
from ell_tune.running.jobs import EndKind, Job, JobEnd
from ell_tune.running.ray_cluster import connected
from ell_tune.running.worker import Workload
from ell_tune.trainable import Progress


@pytest.fixture(scope="module", autouse=True)
def joined_ray(ray_address: str) -> Iterator[None]:
    with connected(ray_address):
        yield


class ListSource:
    """Runs a list of jobs and keeps what it hears."""

    def __init__(self, *jobs: Job, stop_at: dict[str, int] | None = None) -> None:
        self._jobs = list(jobs)
        self._stop_at = stop_at or {}
        self.heard: dict[str, list[int]] = {job.name: [] for job in jobs}
        self.metrics: dict[str, list[dict[str, float]]] = {job.name: [] for job in jobs}
        self.ends: dict[str, JobEnd] = {}

    def next_job(self) -> Job | None:
        return self._jobs.pop(0) if self._jobs else None

    def on_progress(self, job: Job, progress: Progress, seconds: float) -> bool:
        assert 0 <= seconds < 60
        self.heard[job.name].append(progress.step)
        self.metrics[job.name].append(dict(progress.metrics))
        return self._stop_at.get(job.name) != progress.step

    def on_end(self, job: Job, end: JobEnd) -> None:
        self.ends[job.name] = end


def _job(name: str, fold: int = 0, **config: Any) -> Job:
    return Job(name, {"x": 3.0, "y": 2, **config}, fold, seed=1)


def _run(source: Any, artifacts: Path, cpus: float = 1.0, at_a_time: int = 2) -> None:
    data = essays()
    assert data.labels_NC is not None
    workload = Workload(
        trainable_name="fake_trainable",
        labels_NC=data.labels_NC,
        fold_of_N=np.arange(len(data)) % 2,
        targets=("a", "b", "c", "d", "e", "f"),
        score_range=(1.0, 5.0),
        artifacts=str(artifacts),
        keeps_weights=True,
    )
    run_jobs(source, workload, data.texts, Resources(cpus, 0.0, at_a_time))


class CountingSource(ListSource):
    """Counts Tune's trials, wherever Tune keeps them, each time that it is asked for a job."""

    most_trials = 0

    def next_job(self) -> Job | None:
        gc.collect()
        self.most_trials = max(self.most_trials, sum(type(thing) is Trial for thing in gc.get_objects()))
        return super().next_job()


# Runs are shared: each process that a run starts imports Ray Tune, which takes longer than its jobs.
@pytest.fixture(scope="module")
def mixed_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[CountingSource, Path]:
    """One run of jobs that end in every way that a job can end by itself or is ended by its source."""
    artifacts = tmp_path_factory.mktemp("artifacts")
    jobs = [
        _job("complete", fold=1, evaluations=3),
        _job("stopped", evaluations=3),
        _job("bad-config", fault="bad_config"),
        _job("illegal", x=11.0),
        _job("killed-once", fault=f"kill_once:{artifacts / 'killed'}"),
        _job("always-killed", fault="kill"),
        _job("last"),
    ]
    source = CountingSource(*jobs, stop_at={"stopped": 2})
    gc.collect()
    gc.freeze()  # other tests' trials are not counted
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("ell_tune.running.engine.MAX_LOST_WORKERS", 1)
        _run(source, artifacts)
    return source, artifacts


@pytest.fixture(scope="module")
def run_with_a_bug(tmp_path_factory: pytest.TempPathFactory) -> tuple[ListSource, TrainableBug]:
    """One job at a time: three that end well, one with a bug, and many that were to follow."""
    jobs = [_job(f"trial-{index:04d}", evaluations=2) for index in range(3)]
    source = ListSource(*jobs, _job("job", fault="bug"), *[_job(f"later-{index}") for index in range(20)])
    with pytest.raises(TrainableBug) as raised:
        _run(source, tmp_path_factory.mktemp("artifacts"), cpus=2.0, at_a_time=1)
    return source, raised.value


def test_a_job_runs_to_its_end_and_leaves_its_result(mixed_run: tuple[CountingSource, Path]) -> None:
    source, artifacts = mixed_run
    assert source.heard["complete"] == [1, 2, 3]
    assert source.ends["complete"] == JobEnd(EndKind.COMPLETE, score=pytest.approx(0.4 + 0.2 / 3))
    assert sorted(path.name for path in (artifacts / "complete").iterdir()) == [RESULT_ITEM, WEIGHTS_ITEM]
    labels_NC = essays().labels_NC
    assert labels_NC is not None
    with np.load(artifacts / "complete" / RESULT_ITEM / "oof.npz") as arrays:
        assert arrays["rows"].tolist() == list(range(1, 20, 2))
        np.testing.assert_allclose(arrays["predictions"][0], labels_NC[::2].mean(axis=0), rtol=1e-6)


def test_a_job_ends_where_its_source_stops_it(mixed_run: tuple[CountingSource, Path]) -> None:
    source, artifacts = mixed_run
    assert source.heard["stopped"] == [1, 2] and "stopped" not in source.ends
    # The source of a search deletes it when it has recorded the stop.
    assert [path.name for path in (artifacts / "stopped").iterdir()] == ["checkpoint-000001"]


def test_a_bad_config_ends_its_job_alone(mixed_run: tuple[CountingSource, Path]) -> None:
    source, _ = mixed_run
    assert source.heard["bad-config"] == [1] and source.heard["illegal"] == []
    assert source.ends["bad-config"] == JobEnd(EndKind.BAD_CONFIG, message="it does not fit")
    assert source.ends["illegal"].message == "x: must be a number, at least -10 and at most 10, got 11.0."
    assert source.ends["last"].kind == EndKind.COMPLETE


def test_a_killed_worker_is_started_again_from_its_checkpoint(mixed_run: tuple[CountingSource, Path]) -> None:
    source, artifacts = mixed_run
    assert (artifacts / "killed").exists()
    assert source.heard["killed-once"] == [1, 2, 3, 4]
    assert source.ends["killed-once"].kind == EndKind.COMPLETE


def test_a_worker_that_always_dies_is_given_up_and_named(mixed_run: tuple[CountingSource, Path]) -> None:
    source, _ = mixed_run
    assert source.ends["always-killed"].kind == EndKind.LOST
    failure = source.ends["always-killed"].message
    assert failure is not None and failure.startswith("its worker or node was lost 2 times, the last time: ")


def test_the_driver_holds_no_trial_of_tune_that_has_ended(mixed_run: tuple[CountingSource, Path]) -> None:
    source, _ = mixed_run
    assert 2 <= source.most_trials <= 4  # the two that run, and those that have ended since the last was added


def test_actors_are_reused_share_prepared_essays_match_their_cpus_and_are_named_after_their_job(
    run_with_a_bug: tuple[ListSource, TrainableBug],
) -> None:
    source, _ = run_with_a_bug
    metrics = [source.metrics[f"trial-{index:04d}"][1] for index in range(3)]
    assert len({m["pid"] for m in metrics}) == 1
    assert {m["omp_num_threads"] for m in metrics} == {2.0}
    assert {m["num_prepared"] for m in metrics} == {20.0}
    assert [m["trial_in_process_title"] for m in metrics] == [0.0, 1.0, 2.0]


def test_our_bug_stops_the_run_with_its_traceback(run_with_a_bug: tuple[ListSource, TrainableBug]) -> None:
    source, error = run_with_a_bug
    expected = r"(?s)job:\nTraceback.*fake_trainable\.py.*RuntimeError: an error of ours"
    assert re.match(expected, str(error))
    assert "later-19" not in source.ends


def test_a_users_mistake_stops_the_run_with_its_message(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="^the hub cannot be reached$"):
        _run(ListSource(_job("job", fault="user_error")), tmp_path)  # one in `prepare`: in the command's tests


def test_an_interrupt_ends_the_run_and_leaves_checkpoints_to_go_on_from(tmp_path: Path) -> None:
    class Interrupting(ListSource):
        def on_progress(self, job: Job, progress: Progress, seconds: float) -> bool:
            if progress.step == 3:
                os.kill(os.getpid(), signal.SIGTERM)  # SIGINT has the same handler; the command's test sends it
            return super().on_progress(job, progress, seconds)

    source = Interrupting(_job("job", evaluations=1000, seconds_per_step=0.02))
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted):
        _run(source, tmp_path)
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    last = source.heard["job"][-1]
    assert last < 1000 and source.ends == {}

    checkpoint = FitCheckpoints(ArtifactFolder(str(tmp_path), "job"), tmp_path / "scratch").latest()
    assert checkpoint is not None
    # The last evaluation that was heard, or the one that was under way.
    assert json.loads((checkpoint / "state.json").read_text())["step"] in (last, last + 1)
