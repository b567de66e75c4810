"""Judges ended trials once more, by constraints that an edit of the space file has changed.

A trial that breaks them now has failed. One that failed for that is what it was before, once it keeps them again. One
that ended because it broke them, and keeps them now, goes on: from nothing, because its checkpoints are gone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf

from optuna.trial import FrozenTrial
from optuna.trial import TrialState as Told

from ell_tune.choosing.constraints import broken
from ell_tune.choosing.telling import StoppedAs, told
from ell_tune.trials.records import TrialState
from ell_tune.trials.trial_attributes import BROKEN, OUTCOME, REASON, USAGE


@dataclass(frozen=True)
class Judgement:
    """What a trial becomes. Running: it goes on."""

    state: TrialState
    reason: str | None = None
    is_news: bool = True  # whether that is another state


def judged_again(trial: FrozenTrial, limits: Mapping[str, float]) -> Judgement | None:
    """What a trial becomes by these limits; None where it stays what it is."""
    attributes = trial.user_attrs
    if not trial.state.is_finished():  # one whose process died while its end was told ends when it goes on
        return None
    breaks, before = broken(limits, attributes.get(USAGE, {})), attributes.get(BROKEN)
    match attributes.get(OUTCOME):
        case TrialState.COMPLETE | TrialState.STOPPED if breaks is not None:
            return Judgement(TrialState.FAILED, breaks)
        case TrialState.FAILED if before is not None and breaks not in (None, attributes.get(REASON)):
            return Judgement(TrialState.FAILED, breaks, is_news=False)  # by another limit
        case TrialState.FAILED if before == {} and breaks is None:
            return Judgement(TrialState.RUNNING)
        case TrialState.FAILED if before and breaks is None:
            return Judgement(TrialState(before["outcome"]), before["reason"])
    return None


def judge(trial: FrozenTrial, judgement: Judgement, stopped_as: StoppedAs) -> None:
    """Makes the trial what it becomes, and keeps what it was for a later judgement.

    Args:
        trial: as Optuna is told of it, or would be if it fitted the space.
    """
    attributes = trial.user_attrs
    match judgement.state:
        case TrialState.FAILED if attributes.get(BROKEN) is not None:
            pass
        case TrialState.FAILED:
            attributes[BROKEN] = {
                "outcome": attributes[OUTCOME],
                "reason": attributes.get(REASON),
                "state": trial.state.name,
                "value": trial.value,
            }
            trial.state, trial.value = told(stopped_as, TrialState.FAILED, score=None, estimate=inf)
            if trial.state == Told.PRUNED:  # as Optuna does itself where it is told
                trial.value = trial.intermediate_values[max(trial.intermediate_values)]
        case TrialState.RUNNING:
            del attributes[BROKEN], attributes[OUTCOME], attributes[REASON]
            trial.state, trial.value, trial.datetime_complete = Told.RUNNING, None, None
            return
        case _:
            before = attributes.pop(BROKEN)
            trial.state, trial.value = Told[before["state"]], before["value"]
    attributes[OUTCOME], attributes[REASON] = str(judgement.state), judgement.reason
