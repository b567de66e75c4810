"""What runs inside a trial's actor: one job, from its config to its artifacts."""

import json
import os
import shutil
import tempfile
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ray import tune
from ray._raylet import setproctitle  # type: ignore[attr-defined]  # compiled

from ell_tune.config import InvalidConfig, validate
from ell_tune.errors import BadConfig, UserError, first_line
from ell_tune.essays.data import DataConfig, Essays
from ell_tune.essays.folds import Folds
from ell_tune.files.artifacts import RESULT_ITEM, WEIGHTS_ITEM, ArtifactFolder, FitCheckpoints, delete_checkpoints
from ell_tune.files.disk import needs_to_write
from ell_tune.running.jobs import Job
from ell_tune.running.peak_memory import forget_peak, peak_memory
from ell_tune.running.prepared_essays import PreparedEssays
from ell_tune.trainable import FoldData, FoldResult, Progress, load_trainable


@dataclass(frozen=True)
class Workload:
    """What all jobs of one run share. Ray puts it into the object store once."""

    trainable_name: str
    labels_NC: NDArray[np.float32]
    fold_of_N: NDArray[np.int64]
    targets: tuple[str, ...]
    score_range: tuple[float, float]
    artifacts: str  # root of the jobs' artifact folders
    keeps_weights: bool
    pseudo_labels: Mapping[int, NDArray[np.float32]] | None = None  # fold → [P, C], of essays after the labelled ones

    @classmethod
    def of(
        cls,
        trainable_name: str,
        data: DataConfig,
        essays: Essays,
        folds: Folds,
        artifacts: str,
        keeps_weights: bool,
        pseudo_labels: Mapping[int, NDArray[np.float32]] | None,
    ) -> "Workload":
        """The workload of labelled essays."""
        assert essays.labels_NC is not None
        return cls(
            trainable_name=trainable_name,
            labels_NC=essays.labels_NC,
            fold_of_N=folds.fold_of_N,
            targets=tuple(data.targets),
            score_range=(data.min_score, data.max_score),
            artifacts=artifacts,
            keeps_weights=keeps_weights,
            pseudo_labels=pseudo_labels,
        )

    def fold_data(self, job: Job, prepared: Any) -> FoldData:
        """What a job's fit gets: its fold of the labelled essays, and the pseudo-labels made for that fold."""
        is_valid_N = self.fold_of_N == job.fold
        labels = [self.labels_NC] if self.pseudo_labels is None else [self.labels_NC, self.pseudo_labels[job.fold]]
        labels_NC = np.concatenate(labels)
        return FoldData(
            prepared=prepared,
            labels_NC=labels_NC,
            train_rows=np.flatnonzero(~is_valid_N),
            valid_rows=np.flatnonzero(is_valid_N),
            targets=self.targets,
            score_range=self.score_range,
            seed=job.seed,
            pseudo_rows=np.arange(len(self.labels_NC), len(labels_NC)),
        )


def run_job(job: Job, workload: Workload, prepared_essays: PreparedEssays, num_threads: int) -> None:
    """What Ray Tune runs for every trial. Everything is told by `tune.report`.

    The last report holds `end`: `complete`, `failed` (a bad config), `user_error` or `bug`. Nothing that a trainable
    raises leaves this function, so what Tune sees fail is the machine's failure, and is retried.
    """
    # Read by the numerical libraries when the trainable imports them; Ray's own setting yields to the user's shell.
    os.environ["OMP_NUM_THREADS"] = str(num_threads)
    _show_in_dashboard(job.name)
    forget_peak()
    try:
        score = _fit(job, workload, prepared_essays)
    except (BadConfig, InvalidConfig) as error:
        tune.report({"end": "failed", "message": str(error), "done": True})
    except UserError as error:
        tune.report({"end": "user_error", "message": str(error), "done": True})
    except Exception as error:
        if _is_out_of_memory(error):
            tune.report(
                {"end": "failed", "message": f"out of memory: {first_line(error) or 'there is no more'}", "done": True}
            )
        else:
            tune.report({"end": "bug", "message": traceback.format_exc(), "done": True})
    else:
        tune.report({"end": "complete", "best_score": score, "done": True})


def _is_out_of_memory(error: BaseException) -> bool:
    # By its name: torch's and its relatives' are no `MemoryError`, and the platform imports no torch.
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"


def _fit(job: Job, workload: Workload, prepared_essays: PreparedEssays) -> float:
    folder = ArtifactFolder(workload.artifacts, job.name)
    score = _score_before(folder, job)
    if score is not None:
        return score
    trainable = load_trainable(workload.trainable_name)
    config = validate(trainable.Config, job.config)
    fold_data = workload.fold_data(job, prepared_essays.get(trainable.preparation(config)))
    with tempfile.TemporaryDirectory(prefix="ell-tune-") as scratch:
        checkpoints = FitCheckpoints(folder, Path(scratch))
        with needs_to_write(Path(scratch)):  # its weights so far
            result = trainable.fit(config, fold_data, checkpoints, _Reporter(job.name))
        if workload.keeps_weights:
            folder.publish(WEIGHTS_ITEM, lambda directory: _copy_files(result.weights_dir, directory))
        folder.publish(RESULT_ITEM, lambda directory: _write_result(directory, job, result, fold_data.valid_rows))
    delete_checkpoints(folder)
    return result.score


def _score_before(folder: ArtifactFolder, job: Job) -> float | None:
    """The score of a job that is done, but whose process or driver died before its end was told."""
    if RESULT_ITEM not in folder.names():
        return None
    with tempfile.TemporaryDirectory(prefix="ell-tune-") as scratch:
        directory = folder.fetch(RESULT_ITEM, Path(scratch))
        result = json.loads((directory / "result.json").read_text(encoding="utf-8"))
    is_this_job = all(result[key] == value for key, value in _identity(job).items())
    return float(result["score"]) if is_this_job else None


def _identity(job: Job) -> dict[str, Any]:
    """What sets a job apart from others of its name, as JSON gives it back."""
    identity: dict[str, Any] = json.loads(json.dumps({"fold": job.fold, "seed": job.seed, "config": job.config}))
    return identity


class _Reporter:
    """Hands evaluations to Tune, each with the training time since the last."""

    def __init__(self, job_name: str) -> None:
        self._job_name = job_name
        self._last = time.monotonic()

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        seconds, self._last = now - self._last, now
        progress = replace(progress, metrics={**peak_memory(), **progress.metrics})
        # Blocks until the driver has decided; a stopped job ends here with SystemExit.
        tune.report({"progress": progress, "seconds": seconds})
        _show_in_dashboard(f"{self._job_name} step {progress.step}/{progress.num_steps}")
        self._last = time.monotonic()


def _show_in_dashboard(title: str) -> None:
    """Names this process, which Ray's dashboard, `ps` and `top` show, after what it is doing.

    An actor's own name cannot change, and actors are reused from trial to trial. Ray sets the title anew at each call
    of the actor, that is before each evaluation; the prefix marks it as one of Ray's processes. Only Ray's own
    function can set it: Ray owns the memory that holds it.
    """
    setproctitle(f"ray::{title}")


def _copy_files(source: Path, destination: Path) -> None:
    shutil.copytree(source, destination, dirs_exist_ok=True)


def _write_result(directory: Path, job: Job, result: FoldResult, rows: NDArray[np.int64]) -> None:
    np.savez(directory / "oof.npz", rows=rows, predictions=result.oof_MC)
    summary = {"score": result.score, **_identity(job)}
    (directory / "result.json").write_text(json.dumps(summary, indent=1))
