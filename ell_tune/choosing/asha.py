"""Asynchronous successive halving (ASHA), the stopping variant.

Li et al. (2020), *A System for Massively Parallel Hyperparameter Tuning*. A trial that reaches a rung goes on only if
its score is in the best `1 / reduction_factor` of all trials that have reached that rung.
"""

from collections import defaultdict
from fractions import Fraction
from math import ceil
from typing import Literal

from pydantic import Field

from ell_tune.choosing.rung import Rung
from ell_tune.config import StrictConfig


class AshaConfig(StrictConfig):
    """When trials are compared, and what share of them goes on."""

    name: Literal["asha"] = "asha"
    grace_frac: float = Field(
        0.5,
        ge=0.01,
        le=1,
        description="share of the schedule before the first rung; epoch-1 scores barely rank configs",
    )
    reduction_factor: float = Field(2.0, ge=1.1, le=10, description="one trial in so many goes on beyond a rung")


class Asha:
    """The rungs of one search, filled as scores come in."""

    def __init__(self, config: AshaConfig) -> None:
        self._config = config
        # By the rung's share of the schedule, because trials may differ in their number of steps.
        self._rungs: dict[Fraction, Rung] = defaultdict(Rung)

    def rungs(self, num_steps: int) -> tuple[int, ...]:
        """The steps, ascending, at which a trial of `num_steps` evaluations is compared. The last step is none."""
        steps = []
        frac = self._config.grace_frac
        while (step := ceil(frac * num_steps - 1e-9)) < num_steps:
            steps.append(step)
            frac *= self._config.reduction_factor
        return tuple(dict.fromkeys(steps))

    def stops(self, trial_number: int, step: int, num_steps: int, score: float) -> str | None:
        """See `ell_tune.choosing.schedulers.Scheduler`."""
        if step not in self.rungs(num_steps):
            return None
        rung = self._rungs[Fraction(step, num_steps)]
        place = rung.enter(trial_number, score)
        num_going_on = ceil(len(rung) / self._config.reduction_factor)
        if place < num_going_on:
            return None
        return f"not among the best {num_going_on} of {len(rung)} at the rung of step {step}"
