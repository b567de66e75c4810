"""What a study says of its trials: plain data that the leaderboard and the analysis read."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any


class TrialState(StrEnum):
    """How a trial stands."""

    RUNNING = "running"  # in flight, or interrupted and to be continued
    COMPLETE = "complete"  # ran its whole schedule
    STOPPED = "stopped"  # stopped early at a rung
    FAILED = "failed"  # its config is of no use (diverged, out of memory, breaks a constraint)
    LOST = "lost"  # its worker or node died too often, which says nothing of its config


@dataclass(frozen=True)
class TrialRecord:
    """One trial, as far as the study knows it."""

    number: int
    state: TrialState
    score: float | None  # MCRMSE of its best evaluation so far; None before the first
    steps: int  # evaluations made
    num_steps: int  # of its whole schedule; 0 before the first
    seconds: float  # training time so far, summed over interruptions
    device_seconds: float  # the same times the GPUs, or without GPUs the CPUs, that it had
    measures: Mapping[str, float]  # the largest of each of `ell_tune.trainable.MEASURES` that it reported
    curve: Mapping[int, float]  # step → score of that evaluation
    config: Mapping[str, Any]  # the whole resolved config, nested
    params: Mapping[str, Any]  # searched dotted path → value, only those that apply to this trial
    reason: str | None  # why it was stopped, failed or broke off
    started: datetime
    ended: datetime | None
    is_misfit: bool = False  # tried before an edit of the space, into which its config does not fit
    schedule_seconds: float = 0.0  # `seconds` without what was trained once more after an interruption


@dataclass(frozen=True)
class StudyRecord:
    """A study as its readers see it."""

    name: str
    trials: tuple[TrialRecord, ...]  # in order of their number
    searched: tuple[str, ...]  # every searched dotted path
    num_steps: int  # evaluations of a whole schedule
    rungs: tuple[int, ...]  # the steps at which trials are compared and stopped
    provenance: Mapping[str, Any]  # data and fold hashes, versions, seed, commit
    num_waiting: int = 0  # enqueued configs that no search has started yet
    search_seconds: float = 0.0  # wall time of all searches, up to the last evaluation
    cost: str | None = None  # what its sampler keeps low besides the score: one of `ell_tune.trials.costs.COSTS`
