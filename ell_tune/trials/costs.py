"""What a trial costs besides its score, and which trials no other one beats in both."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from fractions import Fraction
from math import inf
from typing import Any, Literal, get_args

# A measure of `ell_tune.trainable.MEASURES`, or the training time of a whole schedule.
Cost = Literal["num_parameters", "peak_memory_mib", "seconds_per_essay", "seconds"]
COSTS: tuple[str, ...] = get_args(Cost)


def schedule_seconds(usage: Mapping[str, Any], curve: Iterable[int]) -> float:
    """The training time of these evaluations of a trial, each counted once, however often it was trained."""
    return sum(usage["step_seconds"][str(step)] for step in curve)


def cost_of(cost: str, measured: Mapping[str, float], step: int, num_steps: int) -> float | None:
    """The cost of a trial that got to a step; None if it was not measured.

    Args:
        measured: `schedule_seconds` so far, and measures. Evaluations lie at fixed shares of the schedule, so the time
            of all of it is known from a part: a trial that was stopped early is no cheaper for that.
    """
    if step == 0:
        return None
    if cost == "seconds":
        return measured["schedule_seconds"] * num_steps / step
    return measured.get(cost)


def cost_so_far(cost: str, usage: Mapping[str, Any], curve: Collection[int]) -> float | None:
    """The cost of a trial with this usage in its study, which has made these evaluations; see `cost_of`."""
    measured = {**usage, "schedule_seconds": schedule_seconds(usage, curve)}
    return cost_of(cost, measured, len(curve), usage["num_steps"])


class Fronts:
    """The front of score and cost at each step, which early stopping spares.

    Early stopping goes by the score, and what is cheap tends to score worse. It would end one end of the front.
    """

    def __init__(self) -> None:
        # By share of the schedule, because trials may differ in their number of steps.
        self._scores: dict[Fraction, dict[int, float]] = defaultdict(dict)  # → trial number → its best score so far
        self._costs: dict[int, float] = {}  # as last measured: so it stands in the journal

    def enter(self, trial_number: int, step: int, num_steps: int, score: float, cost: float | None) -> None:
        """Takes in a trial's best score so far at a step, and its cost as far as it is known."""
        self._scores[Fraction(step, num_steps)][trial_number] = score
        self._costs[trial_number] = inf if cost is None else cost

    def has(self, trial_number: int, step: int, num_steps: int) -> bool:
        """Whether no other trial at the step is at least as good in score and cost, and better in one."""
        scores = self._scores[Fraction(step, num_steps)]
        mine = scores[trial_number], self._costs[trial_number]
        others = ((score, self._costs[number]) for number, score in scores.items() if score <= mine[0])
        return not any(other[1] <= mine[1] and other != mine for other in others)
