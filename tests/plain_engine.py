"""Drives a `JobSource` in this process, one job at a time, without Ray: what the engine does, minus the machines."""

from pathlib import Path
from typing import Any

import fake_trainable
import numpy as np

from ell_tune.config import validate
from ell_tune.errors import BadConfig
from ell_tune.files.artifacts import ArtifactFolder, FitCheckpoints
from ell_tune.running.jobs import EndKind, Job, JobEnd, JobSource
from ell_tune.trainable import FoldData, Progress

SECONDS_PER_EVALUATION = 2.0


class Killed(Exception):
    """The driver dies."""


def killed(*_: Any, **__: Any) -> None:
    """Stands in for what the driver was about to do when it died."""
    raise KeyboardInterrupt


def run_all(source: JobSource, artifacts: Path, kill_after_reports: int | None = None) -> None:
    """Runs every job to its end; raises `Killed` after so many evaluations, before the source hears of the last."""
    num_reports = 0

    def run(job: Job) -> None:
        nonlocal num_reports

        def report(progress: Progress) -> None:
            nonlocal num_reports
            num_reports += 1
            if num_reports == kill_after_reports:
                raise Killed
            if not source.on_progress(job, progress, SECONDS_PER_EVALUATION):
                raise SystemExit

        folder = ArtifactFolder(str(artifacts), job.name)
        checkpoints = FitCheckpoints(folder, artifacts / "scratch")
        config = validate(fake_trainable.Config, job.config)
        assert isinstance(config, fake_trainable.Config)
        try:
            result = fake_trainable.fit(config, fold_data(job.seed), checkpoints, report)
        except SystemExit:
            return
        except BadConfig as error:
            source.on_end(job, JobEnd(EndKind.BAD_CONFIG, message=str(error)))
            return
        source.on_end(job, JobEnd(EndKind.COMPLETE, score=result.score))

    while (job := source.next_job()) is not None:
        run(job)


def fold_data(seed: int) -> FoldData:
    """Six essays, one target."""
    return FoldData(
        prepared=np.zeros(6),
        labels_NC=np.array([[1.0], [2.0], [3.0], [3.0], [4.0], [5.0]], dtype=np.float32),
        train_rows=np.array([0, 1, 2, 3]),
        valid_rows=np.array([4, 5]),
        targets=("grammar",),
        score_range=(1.0, 5.0),
        seed=seed,
    )
