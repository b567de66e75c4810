"""How an ended trial is told to Optuna. What it really was stands in its user attributes.

A trial stopped early has no final score. Optuna knows two ways to tell of it, and each has its price: as pruned, TPE
ranks it below every complete trial however good it was; as complete, its half-trained score competes with whole ones.
The third is an estimate of the score that it would have come to.
"""

from bisect import insort
from collections import defaultdict
from collections.abc import Mapping
from fractions import Fraction
from math import inf
from typing import Literal

from optuna.trial import TrialState as Told

from ell_tune.records import TrialState

StoppedAs = Literal["pruned", "last_value", "extrapolated"]


class Extrapolation:
    """Estimates final scores: the score so far, and what complete trials gained from the same point on (their median).

    Scores are best-so-far ones.
    """

    def __init__(self) -> None:
        self._gains: dict[Fraction, list[float]] = defaultdict(list)  # share of the schedule → gains, sorted

    def add_complete(self, curve: Mapping[int, float]) -> None:
        """Takes in the whole curve, step → score, of a complete trial."""
        final, best = min(curve.values()), inf
        for step, score in sorted(curve.items()):
            best = min(best, score)
            insort(self._gains[Fraction(step, len(curve))], best - final)

    def final_score(self, score: float, step: int, num_steps: int) -> float:
        """The score that a trial with this best score at a step would come to."""
        gains = self._gains.get(Fraction(step, num_steps), [])
        return score - (gains[len(gains) // 2] if gains else 0.0)


def told(stopped_as: StoppedAs, state: TrialState, score: float | None, estimate: float) -> tuple[Told, float | None]:
    """What Optuna hears of a trial that ended in `state`.

    Args:
        score: its best score, if it has one.
        estimate: the final score that a stopped trial would have come to.
    """
    match state:
        case TrialState.COMPLETE:
            return Told.COMPLETE, score
        case TrialState.LOST:
            return Told.FAIL, None  # says nothing of its config, and samplers ignore it
        case TrialState.FAILED if stopped_as != "pruned":
            return Told.COMPLETE, inf  # some samplers ignore all that is not complete
        case TrialState.STOPPED if stopped_as != "pruned":
            return Told.COMPLETE, score if stopped_as == "last_value" else estimate
        case _:
            # A failed config too: TPE ignores what is told as failed and would suggest the like again.
            return Told.PRUNED, None
