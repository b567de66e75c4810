"""The one thing the engine does: fit a config on a fold with a seed, and tell how it goes.

Search and retraining differ only in who chooses the next job, a `JobSource`. A source knows no Ray: a plain loop can
drive it too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ell_tune.trainable import Progress


@dataclass(frozen=True)
class Job:
    """One fit."""

    name: str  # unique in its study; names its artifact folder and its actor
    config: Mapping[str, Any]  # whole, nested
    fold: int
    seed: int


@dataclass(frozen=True)
class JobEnd:
    """How a job ended that was not stopped by its source."""

    score: float | None  # of its best evaluation, where it ran its whole schedule
    failure: str | None  # why its config cannot be trained, or why its worker was given up


class JobSource(Protocol):
    """Chooses jobs and is told how they go, one call at a time, all in the driver's thread."""

    def next_job(self) -> Job | None:
        """The next job to start, or None when there will be no more."""

    def on_progress(self, job: Job, progress: Progress, seconds: float) -> bool:
        """Takes note of an evaluation, `seconds` of training after the last, and says whether the job goes on.

        A job that goes on after its process died reports its last evaluation once more.
        """

    def on_end(self, job: Job, end: JobEnd) -> None:
        """Takes note that a job ended by itself."""
