"""Judges ended trials once more, by constraints that an edit of the space file has changed.

A trial that breaks them now has failed. One that had failed for breaking them is complete again if it ran its whole
schedule; if not, it goes on. Its checkpoints are gone, so it trains from nothing; its scores so far stay as they are.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from optuna.trial import FrozenTrial

from ell_tune.choosing.constraints import broken
from ell_tune.trials.records import TrialState
from ell_tune.trials.trial_attributes import OUTCOME, USAGE


@dataclass(frozen=True)
class Judgement:
    """What a trial becomes. Running: it goes on."""

    state: TrialState
    reason: str | None = None


def judged_again(trial: FrozenTrial, limits: Mapping[str, float]) -> Judgement | None:
    """What a trial becomes by these limits; None where it stays what it is.

    Args:
        trial: with the violations of the limits that it was judged by before.
    """
    usage = trial.user_attrs.get(USAGE, {})
    had_broken_one = any(violation > 0 for violation in trial.constraints.values())
    breaks = broken(limits, usage)
    match trial.user_attrs.get(OUTCOME):
        case TrialState.COMPLETE | TrialState.STOPPED if breaks is not None:
            return Judgement(TrialState.FAILED, breaks)
        case TrialState.FAILED if had_broken_one and breaks is None:
            is_whole = len(trial.intermediate_values) == usage["num_steps"]
            return Judgement(TrialState.COMPLETE if is_whole else TrialState.RUNNING)
    return None
