"""The one thing the engine does: fit a config on a fold with a seed, and tell how it goes.

Search and retraining differ only in who chooses the next job, a `JobSource`. A source knows no Ray: a plain loop can
drive it too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from ell_tune.trainable import Progress


@dataclass(frozen=True)
class Job:
    """One fit."""

    name: str  # unique in its study; names its artifact folder and its actor
    config: Mapping[str, Any]  # whole, nested
    fold: int
    seed: int


class EndKind(StrEnum):
    """How a job ended that its source did not stop."""

    COMPLETE = "complete"  # it ran its whole schedule
    BAD_CONFIG = "bad_config"  # its config cannot be trained
    LOST = "lost"  # its worker or node died once too often, which says nothing of its config
    BUG = "bug"  # the trainable raised what it should not; the run ends


@dataclass(frozen=True)
class JobEnd:
    """The end of a job."""

    kind: EndKind
    score: float | None = None  # of its best evaluation, where it is complete
    message: str | None = None  # why, where it is not


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
