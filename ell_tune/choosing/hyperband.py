"""Hyperband over asynchronous halving: brackets with early and with late first rungs, each a separate ASHA.

Li et al. (2017), *Hyperband*; asynchronous brackets as in Li et al. (2020). It hedges against early scores that rank
configs badly: most trials go to the bracket with the earliest rung, some to one that waits longer.
"""

import random
from math import ceil
from typing import Literal

from pydantic import Field

from ell_tune.choosing.asha import Asha, AshaConfig
from ell_tune.config import StrictConfig


class HyperbandConfig(StrictConfig):
    """The earliest first rung, and what share goes on beyond each."""

    name: Literal["hyperband"] = "hyperband"
    grace_frac: float = Field(0.25, ge=0.01, le=1, description="share of the schedule before the earliest rung of all")
    reduction_factor: float = Field(2.0, ge=1.1, le=10, description="one trial in so many goes on beyond a rung")


class Hyperband:
    """The brackets of one search."""

    def __init__(self, config: HyperbandConfig, seed: int) -> None:
        factor = config.reduction_factor
        grace_fracs = [config.grace_frac]
        while grace_fracs[-1] * factor < 1 - 1e-9:
            grace_fracs.append(grace_fracs[-1] * factor)
        self._brackets = [
            Asha(AshaConfig(grace_frac=frac, reduction_factor=factor)) for frac in (*grace_fracs, 1.0)
        ]  # the last never stops a trial
        self._seed = seed
        top = len(self._brackets) - 1
        # A bracket's trials, so that all brackets cost about the same: Hyperband's n_s.
        self._weights = [ceil((top + 1) / (halvings + 1) * factor**halvings) for halvings in range(top, -1, -1)]

    def bracket_of(self, trial_number: int) -> int:
        """The bracket of a trial, 0 being that with the earliest rung: drawn by the seed and its number."""
        return random.Random(f"{self._seed}/{trial_number}").choices(range(len(self._brackets)), self._weights)[0]

    def rungs(self, num_steps: int) -> tuple[int, ...]:
        """The steps, ascending, at which a trial of some bracket is compared."""
        return self._brackets[0].rungs(num_steps)

    def stops(self, trial_number: int, step: int, num_steps: int, score: float) -> str | None:
        """See `ell_tune.choosing.schedulers.Scheduler`."""
        bracket = self.bracket_of(trial_number)
        reason = self._brackets[bracket].stops(trial_number, step, num_steps, score)
        return None if reason is None else f"{reason} (bracket {bracket})"
