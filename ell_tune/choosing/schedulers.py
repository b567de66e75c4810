"""Early stopping by name. A scheduler compares trials at the same share of their schedule, by their best score so far.

It holds plain scores, so it can be rebuilt from a study's journal at any time.
"""

from typing import Protocol

from ell_tune.choosing.asha import Asha, AshaConfig
from ell_tune.choosing.hyperband import Hyperband, HyperbandConfig
from ell_tune.choosing.median_stopping import MedianConfig, MedianStopping
from ell_tune.config import StrictConfig, one_of

SchedulerConfig = one_of(AshaConfig, HyperbandConfig, MedianConfig)


class Scheduler(Protocol):
    """Decides at every evaluation but the last whether a trial goes on."""

    def rungs(self, num_steps: int) -> tuple[int, ...]:
        """The steps, ascending, at which a trial of `num_steps` evaluations may be stopped."""

    def stops(self, trial_number: int, step: int, num_steps: int, score: float) -> str | None:
        """Takes in a trial's best score so far at a step, and says why the trial ends there, if it does.

        To take in the same score again changes nothing, so an interrupted search may repeat itself.
        """


class _Never:
    """No early stopping."""

    def rungs(self, num_steps: int) -> tuple[int, ...]:
        return ()

    def stops(self, trial_number: int, step: int, num_steps: int, score: float) -> str | None:
        return None


def make_scheduler(config: StrictConfig | None, seed: int) -> Scheduler:
    """The scheduler of a config, empty; one that stops nothing where it is off. The seed is for what it draws."""
    match config:
        case None:
            return _Never()
        case AshaConfig():
            return Asha(config)
        case HyperbandConfig():
            return Hyperband(config, seed)
        case MedianConfig():
            return MedianStopping(config)
        case _:
            raise AssertionError(config)
