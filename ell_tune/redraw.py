"""Draws the suggestion of a trial again whose process died before it was written down whole."""

from typing import Any

import optuna
from optuna.samplers import BaseSampler
from optuna.trial import TrialState

from ell_tune.space import Space


def redrawn(study: optuna.Study, number: int, space: Space, sampler: BaseSampler) -> dict[str, Any]:
    """The Optuna parameters that the trial `number` would have had.

    They are drawn in a copy of the study without it: what it has of them already would steer the drawing of the rest.
    """
    copy = optuna.create_study(direction=study.direction, sampler=sampler)
    for other in study.get_trials(deepcopy=False):
        if other.number < number and other.state != TrialState.WAITING:
            copy.add_trial(other)
    trial = copy.ask()
    space.suggest(trial)
    return trial.params
