"""Judges ended trials once more, by constraints that an edit of the space file has changed.

A trial that breaks them now has failed. One that failed for that is what it was before, once it keeps them again. One
that ended because it broke them, and keeps them now, goes on: from nothing, because its checkpoints are gone.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from optuna.trial import FrozenTrial

from ell_tune.choosing.constraints import broken
from ell_tune.trials.records import TrialState
from ell_tune.trials.trial_attributes import BROKEN, OUTCOME, REASON, USAGE


@dataclass(frozen=True)
class Judgement:
    """What a trial becomes. Running: it goes on."""

    state: TrialState
    reason: str | None = None


def judged_again(trial: FrozenTrial, limits: Mapping[str, float]) -> Judgement | None:
    """What a trial becomes by these limits; None where it stays what it is."""
    attributes = trial.user_attrs
    breaks, before = broken(limits, attributes.get(USAGE, {})), attributes.get(BROKEN)
    match attributes.get(OUTCOME):
        case TrialState.COMPLETE | TrialState.STOPPED if breaks is not None:
            return Judgement(TrialState.FAILED, breaks)
        case TrialState.FAILED if before == {} and breaks is None:
            return Judgement(TrialState.RUNNING)
        case TrialState.FAILED if before and breaks is None:
            return Judgement(TrialState(before["outcome"]), before["reason"])
    return None


def judge(trial: FrozenTrial, judgement: Judgement) -> None:
    """Writes into the trial's attributes what it becomes, and what it was for a later judgement."""
    attributes = trial.user_attrs
    if judgement.state == TrialState.FAILED:
        attributes[BROKEN] = {"outcome": attributes[OUTCOME], "reason": attributes.get(REASON)}
    else:
        del attributes[BROKEN]
    attributes[OUTCOME], attributes[REASON] = str(judgement.state), judgement.reason
    if judgement.state == TrialState.RUNNING:
        del attributes[OUTCOME], attributes[REASON]
