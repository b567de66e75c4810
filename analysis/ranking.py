"""How the scores of a study's trials compare: the best so far, and how far chance alone flatters the leader."""

import math
from collections.abc import Sequence
from datetime import datetime
from statistics import NormalDist

import numpy as np

from ell_tune.trials.ranking import best_trial, contenders
from ell_tune.trials.records import StudyRecord, TrialRecord

# The SD of one config's four-fold MCRMSE: ten runs of the same deberta-v3-base config in FB3
# (A1c0r-Z/KAGGLE-FeedBack3-ELL, Models/Model-1) gave .00079.
FB3_SCORE_SD = 0.0008


def leader(study: StudyRecord) -> TrialRecord:
    """The best contender; a report is only written of a study that has one."""
    best = best_trial(study.trials)
    assert best is not None
    return best


def by_end(study: StudyRecord) -> list[TrialRecord]:
    """The trials in the order in which they ended; those still running come last."""
    return sorted(study.trials, key=lambda trial: (trial.ended is None, trial.ended or datetime.min, trial.number))


def best_so_far(study: StudyRecord, ordered: Sequence[TrialRecord]) -> list[float | None]:
    """The lowest contender's score up to each of the ordered trials; None before the first contender."""
    leading = {trial.number for trial in contenders(study.trials)}
    best, running_best = math.inf, []
    for trial in ordered:
        if trial.number in leading and trial.score is not None:
            best = min(best, trial.score)
        running_best.append(None if math.isinf(best) else best)
    return running_best


def score_at(trial: TrialRecord, step: int) -> float | None:
    """The trial's best score up to a step; None if it did not get there, or diverged on the way."""
    if not trial.curve or max(trial.curve) < step:
        return None
    scores = [score for at, score in trial.curve.items() if at <= step]
    return min(scores) if scores and all(map(math.isfinite, scores)) else None


def expected_flattery(num_scores: int, score_sd: float = FB3_SCORE_SD) -> float:
    """How far the best of N equally good configs is expected to lie below their true score.

    Minus the expected minimum of N independent normals with mean 0 and the given SD.
    """
    bound = 9.0  # in SDs; beyond it lies less than 1e-18 of a normal's mass
    grid = np.linspace(-bound, bound, 3601)
    cdf = np.array([NormalDist().cdf(float(x)) for x in grid])
    # By symmetry the expected maximum: E[max] = bound - the integral of P(max <= x) up to the bound.
    return score_sd * (bound - float(np.trapezoid(cdf**num_scores, grid)))
