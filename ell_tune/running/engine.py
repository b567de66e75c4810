"""Runs jobs on Ray Tune. Tune places, starts, reuses and retries; a `JobSource` decides; nothing is recorded here.

A `Searcher` and a `TrialScheduler` are thin faces of the source. Tune calls the scheduler before the searcher, so the
scheduler passes on every evaluation, and the searcher only hands out jobs.
"""

import json
import signal
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import floor
from pathlib import Path
from types import FrameType
from typing import Any

import ray
from ray import cloudpickle, tune
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from ell_tune.errors import Interrupted, TrainableBug, UserError, first_line
from ell_tune.interruption import end_interrupted_process
from ell_tune.running.jobs import EndKind, Job, JobEnd, JobSource
from ell_tune.running.prepared_essays import PreparedEssays
from ell_tune.running.worker import Workload, run_job

_ORDERLY_END_SECONDS = 20.0  # of the 30 that a machine has at least before it is taken away
MAX_LOST_WORKERS = 3  # times that one job is started again after its worker or node died


@dataclass(frozen=True)
class Resources:
    """What each trial gets, and how many run at a time."""

    cpus_per_trial: float
    gpus_per_trial: float
    max_concurrent: int

    @property
    def devices_per_trial(self) -> float:
        """What a trial's device-seconds count: its GPUs, or its CPUs where it has none."""
        return self.gpus_per_trial or self.cpus_per_trial


def run_jobs(source: JobSource, workload: Workload, essays: Sequence[str], resources: Resources) -> None:
    """Runs every job that the source gives, on the Ray cluster that this process is connected to.

    Raises:
        UserError: a trainable refused what the user gave it.
        TrainableBug: a trainable raised something else; the message holds its traceback.
        Interrupted: SIGINT or SIGTERM; jobs in flight were ended at once.
    """
    run = _Run(source)
    prepared_essays = PreparedEssays(workload.trainable_name, essays)
    with tempfile.TemporaryDirectory(prefix="ell-tune-ray-") as scratch, _interrupts(run):
        tuner = tune.Tuner(
            tune.with_resources(
                tune.with_parameters(
                    _run_encoded_job,
                    workload=workload,
                    prepared_essays=prepared_essays,
                    num_threads=max(1, floor(resources.cpus_per_trial)),
                ),
                {"cpu": resources.cpus_per_trial, "gpu": resources.gpus_per_trial},
            ),
            tune_config=tune.TuneConfig(
                search_alg=_JobSearcher(run),
                scheduler=_JobScheduler(run),
                num_samples=-1,
                max_concurrent_trials=resources.max_concurrent,
                reuse_actors=True,
                trial_name_creator=_job_name,
                trial_dirname_creator=_job_name,
            ),
            run_config=tune.RunConfig(
                name="jobs",
                storage_path=scratch,  # Tune's own bookkeeping; the study is the record
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=MAX_LOST_WORKERS),
                stop=_RunStopper(run),
            ),
        )
        tuner.fit()
    prepared_essays.close()
    if run.error is not None:
        raise run.error


class _Run:
    """The state that Tune's three plug-in points share."""

    def __init__(self, source: JobSource) -> None:
        self.source = source
        self.error: Exception | None = None  # set once; ends the run

    @contextmanager
    def ended_by_errors(self) -> Iterator[None]:
        """Inside, an error ends the run: Tune would take one out of the source for its trial's, and run that again."""
        try:
            yield
        except Exception as error:
            self.error = self.error or error

    def __reduce__(self) -> tuple[type, tuple[()]]:
        # `Tuner` pickles its plug-ins into its own folder, for a restore that ell-tune never makes.
        return object, ()


def _encoded(job: Job) -> dict[str, str]:
    """A job as the config of a Tune trial: one text, for Tune copies and flattens a config with every result."""
    return {"job": json.dumps(vars(job))}


def _decoded(config: Mapping[str, str]) -> Job:
    return Job(**json.loads(config["job"]))


def _job_of(trial: Trial) -> Job:
    return _decoded(trial.config)


def _job_name(trial: Trial) -> str:
    return _job_of(trial).name


def _run_encoded_job(config: Mapping[str, str], **shared: Any) -> None:
    run_job(_decoded(config), **shared)


class _JobSearcher(Searcher):
    """Hands the source's jobs to Tune."""

    def __init__(self, run: _Run) -> None:
        super().__init__()
        self._run = run

    def suggest(self, trial_id: str) -> dict[str, Any] | str:  # type: ignore[override]  # FINISHED is a str
        if self._run.error is not None:
            return Searcher.FINISHED
        job = None
        with self._run.ended_by_errors():
            job = self._run.source.next_job()
        return Searcher.FINISHED if job is None else _encoded(job)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """The scheduler has been told already."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the study is the record."""

    def restore(self, checkpoint_path: str) -> None:
        raise AssertionError("a search goes on from its study, never from Tune's own files")


class _JobScheduler(FIFOScheduler):
    """Passes evaluations to the source, and its decisions to Tune."""

    def __init__(self, run: _Run) -> None:
        super().__init__()
        self._run = run

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        super().on_trial_add(tune_controller, trial)
        drop_ended_trials(tune_controller._tune_controller)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        goes_on = False
        with self._run.ended_by_errors():
            goes_on = self._run.source.on_progress(_job_of(trial), result["progress"], result["seconds"])
        return TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        match result.get("end"):
            case "complete":
                self._end(trial, JobEnd(EndKind.COMPLETE, score=result["best_score"]))
            case "failed":
                self._end(trial, JobEnd(EndKind.BAD_CONFIG, message=result["message"]))
            case "user_error":
                self._run.error = self._run.error or UserError(result["message"])
            case "bug":
                self._end_by_bug(trial, result["message"])
            case _:
                pass  # the run is being ended; the job stays as it is in the study

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        if trial.status == Trial.ERROR:
            return  # Tune has stopped it to start it again, and tells of that; one that it gives up has not stopped yet
        error = _error_of(trial)
        if isinstance(error, (ray.exceptions.RayActorError, ray.exceptions.OutOfMemoryError)):  # of its node's memory
            times = trial.run_metadata.num_failures
            message = f"its worker or node was lost {times} times, the last time: {first_line(error)}"
            self._end(trial, JobEnd(EndKind.LOST, message=message))
        else:
            self._end_by_bug(trial, str(error))

    def _end(self, trial: Trial, end: JobEnd) -> None:
        with self._run.ended_by_errors():
            self._run.source.on_end(_job_of(trial), end)

    def _end_by_bug(self, trial: Trial, traceback: str) -> None:
        self._end(trial, JobEnd(EndKind.BUG, message=traceback.strip().splitlines()[-1]))
        self._run.error = self._run.error or TrainableBug(f"{_job_name(trial)}:\n{traceback}")


def drop_ended_trials(controller: TuneController) -> None:
    """Makes Tune forget the trials that have ended.

    Tune keeps each until the run ends, with its config and metrics, for a `ResultGrid` and for snapshots that ell-tune
    has no use for. They would take some 50 KB each, and Tune looks through all of them at every event. There is no
    public way to let go of one.
    """
    ended = {trial for trial in controller._trials if trial.is_finished()}
    if not ended:
        return
    controller._trials = [trial for trial in controller._trials if trial not in ended]
    controller._live_trials -= ended  # Tune leaves a trial that it gave up in it
    controller._stopped_trials -= ended
    controller._failed_trials -= ended
    controller._trials_to_cache -= ended
    for trial in ended:
        controller._trial_metadata.pop(trial.trial_id, None)


def _error_of(trial: Trial) -> Exception:
    # `trial.get_error` looks where Tune copies the file to only later.
    assert trial.pickled_error_file is not None
    error = cloudpickle.loads(Path(trial.pickled_error_file).read_bytes())
    assert isinstance(error, Exception)
    return error


class NoProgress(TrialProgressCallback):
    """Stands in for the callback that Tune adds of itself, which holds every trial even when it prints none.

    `ray_environment.py` names it: for one given to `RunConfig`, Tune would import every tracker that it knows.
    """

    def log_result(self, trial: Trial, result: dict[str, Any], error: bool = False) -> None: ...

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None: ...


class _RunStopper(tune.Stopper):
    """Ends the whole run once it has an error."""

    def __init__(self, run: _Run) -> None:
        self._run = run

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._run.error is not None


@contextmanager
def _interrupts(run: _Run) -> Iterator[None]:
    """The first SIGINT or SIGTERM ends the run in order, or the process where that hangs; a second SIGINT at once."""
    # Where Ray's own processes were told to end too, Tune waits for an answer that never comes.
    end_process = threading.Timer(_ORDERLY_END_SECONDS, end_interrupted_process)
    end_process.daemon = True

    def interrupt(signum: int, frame: FrameType | None) -> None:
        if run.error is None:
            end_process.start()
        run.error = run.error or Interrupted()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    previous = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        end_process.cancel()
        for number, handler in previous.items():
            signal.signal(number, handler)
