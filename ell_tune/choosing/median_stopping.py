"""Median stopping: a trial ends where its best score is worse than the median of all at the same point.

Golovin et al. (2017), *Google Vizier*, there with running averages; here with best scores, as everywhere in ell-tune.
"""

from collections import defaultdict
from fractions import Fraction
from math import ceil
from typing import Literal

from pydantic import Field

from ell_tune.choosing.rung import Rung
from ell_tune.config import StrictConfig


class MedianConfig(StrictConfig):
    """From when on trials are compared, and with how many."""

    name: Literal["median"] = "median"
    grace_frac: float = Field(0.5, ge=0.01, le=1, description="share of the schedule in which no trial is stopped")
    min_trials: int = Field(5, ge=2, description="trials that must have reached a point before one is stopped there")


class MedianStopping:
    """Best scores of all trials of one search, by share of the schedule."""

    def __init__(self, config: MedianConfig) -> None:
        self._config = config
        self._points: dict[Fraction, Rung] = defaultdict(Rung)

    def rungs(self, num_steps: int) -> tuple[int, ...]:
        """Every step from the end of the grace period on but the last."""
        return tuple(range(max(1, ceil(self._config.grace_frac * num_steps - 1e-9)), num_steps))

    def stops(self, trial_number: int, step: int, num_steps: int, score: float) -> str | None:
        """See `ell_tune.choosing.schedulers.Scheduler`."""
        if step not in self.rungs(num_steps):
            return None
        point = self._points[Fraction(step, num_steps)]
        point.enter(trial_number, score)
        if len(point) < self._config.min_trials or score <= point.median():
            return None
        return f"worse than the median {point.median():.4f} of {len(point)} trials at step {step}"
