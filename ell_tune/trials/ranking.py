"""Which trials of a study may lead, and in which order they stand."""

import math
from collections.abc import Sequence

from ell_tune.trials.records import TrialRecord, TrialState


def contenders(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The trials that may lead, in order of their number.

    Those are the complete trials. While no trial is complete, every trial with a score may lead, unless it
    failed: what a diverged config scored before it diverged is no result.
    """
    scored = [trial for trial in trials if trial.score is not None and trial.state != TrialState.FAILED]
    return [trial for trial in scored if trial.state == TrialState.COMPLETE] or scored


def best_trial(trials: Sequence[TrialRecord]) -> TrialRecord | None:
    """The contender with the lowest score, the first where several share it; None without a contender."""
    return min(contenders(trials), key=lambda trial: (trial.score, trial.number), default=None)


def ranked(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Every trial, best first: the contenders, then those cut short or under way, then the failed."""
    leading = {trial.number for trial in contenders(trials)}

    def rank(trial: TrialRecord) -> tuple[int, int, float, int]:
        score = math.inf if trial.score is None else trial.score
        if trial.number in leading:
            return 0, 0, score, trial.number
        # Scores of trials cut short compare only with those that got as far, so the longest come first.
        return (2 if trial.state == TrialState.FAILED else 1), -trial.steps, score, trial.number

    return sorted(trials, key=rank)
