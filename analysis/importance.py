"""Which searched fields the scores depend on: permutation importance of a random forest on held-out trials.

Breiman, "Random forests" (2001), section 10: permuting a field that matters makes the forest predict worse.
Measured on trials that the forest has not seen, so that a field that only helps to memorise scores nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestRegressor
from sklearn.inspection import permutation_importance
from sklearn.metrics import r2_score
from sklearn.model_selection import KFold

from analysis.fields import Field, searched_fields
from analysis.ranking import score_at
from ell_tune.trials.records import StudyRecord

MIN_TRIALS = 8
MIN_R2 = 0.1
_NUM_FOLDS = 4
_NUM_TREES = 100
_NUM_REPEATS = 5
_SEED = 0


@dataclass(frozen=True)
class FieldImportance:
    """How much worse the forest's mean absolute error gets, in score, when a field's values are shuffled."""

    mean: float
    sd: float  # over the held-out parts


@dataclass(frozen=True)
class Importance:
    """The importance of the searched fields, and on what it was computed."""

    step: int  # scores are compared at this step: the last rung, or the schedule's end without rungs
    num_trials: int  # that got there
    r2: float | None  # of the forest's predictions for held-out trials; None where no forest was fitted
    by_path: Mapping[str, FieldImportance]  # most important first; empty where `refusal` says why
    unrated: Mapping[str, str]  # searched dotted path → why it has no importance
    refusal: str | None


def rate_fields(study: StudyRecord) -> Importance:
    """Rates each searched field that applies to all trials that reached the last rung and varies there.

    Refuses, with the reason in `refusal`, below 8 trials, without a field to rate, and where the forest
    predicts held-out scores hardly better than their mean does: its importances would then be noise.
    """
    step = study.rungs[-1] if study.rungs else study.num_steps
    scores = {trial.number: score for trial in study.trials if (score := score_at(trial, step)) is not None}
    if len(scores) < MIN_TRIALS:
        refusal = f"At least {MIN_TRIALS} trials must have reached step {step}; {len(scores)} did."
        return Importance(step, len(scores), None, {}, {}, refusal)

    rated, unrated = _split_rateable(searched_fields(study), list(scores))
    if not rated:
        refusal = "No searched field applies to all of these trials and varies between them."
        return Importance(step, len(scores), None, {}, unrated, refusal)

    inputs_NF = np.array([[field.position(number) for field in rated] for number in scores])
    r2, increases_KF = _permute_held_out(inputs_NF, np.array(list(scores.values())))
    if r2 < MIN_R2:
        refusal = (
            f"On the {len(scores)} trials that reached step {step}, a random forest on the searched fields "
            f"predicts held-out scores hardly better, or worse, than their mean does (R² {r2:.2f}, needed "
            f"{MIN_R2}): no ranking of the fields can be read from these trials."
        )
        return Importance(step, len(scores), r2, {}, unrated, refusal)

    means_F, sds_F = increases_KF.mean(axis=0), increases_KF.std(axis=0, ddof=1)
    by_path = {
        rated[i].path: FieldImportance(float(means_F[i]), float(sds_F[i])) for i in np.argsort(-means_F, kind="stable")
    }
    return Importance(step, len(scores), r2, by_path, unrated, None)


def _split_rateable(fields: list[Field], numbers: list[int]) -> tuple[list[Field], dict[str, str]]:
    rated, unrated = [], {}
    for field in fields:
        shown = [field.position(number) for number in numbers if number in field.values]
        if len(shown) < len(numbers):
            unrated[field.path] = f"applies to only {len(shown)} of the {len(numbers)} trials"
        elif len(set(shown)) == 1:
            unrated[field.path] = "has the same value in all of them"
        else:
            rated.append(field)
    return rated, unrated


def _permute_held_out(
    inputs_NF: NDArray[np.float64], scores_N: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64]]:
    """R² of the held-out predictions, and their rise in error by held-out part K and shuffled field F."""
    predicted_N = np.empty_like(scores_N)
    increases = []
    for train, held_out in KFold(_NUM_FOLDS, shuffle=True, random_state=_SEED).split(inputs_NF):
        forest = RandomForestRegressor(_NUM_TREES, random_state=_SEED).fit(inputs_NF[train], scores_N[train])
        predicted_N[held_out] = forest.predict(inputs_NF[held_out])
        shuffled = permutation_importance(
            forest,
            inputs_NF[held_out],
            scores_N[held_out],
            scoring="neg_mean_absolute_error",
            n_repeats=_NUM_REPEATS,
            random_state=_SEED,
        )
        increases.append(shuffled.importances_mean)
    return float(r2_score(scores_N, predicted_N)), np.array(increases)
