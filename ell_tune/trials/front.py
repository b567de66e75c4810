"""Which trials of a study are on the front of score and cost: none is better in both."""

import numpy as np
from optuna.study._multi_objective import _is_pareto_front

from ell_tune.trials.costs import cost_of
from ell_tune.trials.ranking import contenders
from ell_tune.trials.records import StudyRecord, TrialRecord


def trial_cost(trial: TrialRecord, cost: str) -> float | None:
    """See `ell_tune.trials.costs.cost_of`."""
    return cost_of(cost, {**trial.measures, "schedule_seconds": trial.schedule_seconds}, trial.steps, trial.num_steps)


def front(study: StudyRecord) -> list[TrialRecord]:
    """The trials that may lead and that no other such trial beats in score and cost, the cheapest first.

    Empty where the study's sampler has no cost.
    """
    if study.cost is None:
        return []
    found = [(trial_cost(trial, study.cost), trial.score, trial) for trial in contenders(study.trials)]
    measured = [(cost, score, trial) for cost, score, trial in found if cost is not None and score is not None]
    if not measured:
        return []
    points = np.array([(cost, score) for cost, score, _ in measured])
    is_on_front = _is_pareto_front(points, assume_unique_lexsorted=False)  # Optuna's, which it shows of studies only
    order = sorted(np.flatnonzero(is_on_front), key=lambda index: (*points[index], measured[index][2].number))
    return [measured[index][2] for index in order]
