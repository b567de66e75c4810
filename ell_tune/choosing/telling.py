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

from optuna.trial import FrozenTrial
from optuna.trial import TrialState as Told

from ell_tune.errors import UserError
from ell_tune.trials.costs import COSTS, cost_so_far
from ell_tune.trials.records import TrialState
from ell_tune.trials.trial_attributes import OUTCOME, USAGE

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


def score_and_cost(trial: FrozenTrial, cost: str) -> tuple[float, float] | None:
    """What NSGA-II, which has two objectives, hears of a trial; None if it hears nothing.

    A stopped trial counts with its score so far if Optuna was told that it is pruned. What it costs is known, and
    without the stopped trials a generation takes twice as long to fill. A failed one teaches by having no offspring.

    Raises:
        UserError: the trainable does not measure this cost.
    """
    if trial.state not in (Told.COMPLETE, Told.PRUNED):
        return None
    if any(violation > 0 for violation in trial.constraints.values()):
        return inf, inf  # compared with others by how far it breaks the constraints
    curve, usage = trial.intermediate_values, trial.user_attrs.get(USAGE, {})
    if trial.user_attrs.get(OUTCOME) == TrialState.FAILED or not curve:
        return None
    found = cost_so_far(cost, usage, curve)
    if found is None:
        measured = ", ".join(name for name in COSTS if name in usage)
        raise UserError(
            f"study.sampler.cost: the trainable must measure the cost that NSGA-II is to keep low, but trial "
            f"{trial.number} has no {cost}. Take a cost that it measures ({measured})."
        )
    score = trial.value if trial.state == Told.COMPLETE else min(curve.values())
    assert score is not None
    return score, found
