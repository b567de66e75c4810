"""The trials that have reached one point of the schedule, by their best score so far."""

from bisect import bisect_left, insort


class Rung:
    """Scores of trials at one share of the schedule."""

    def __init__(self) -> None:
        self._score_of: dict[int, float] = {}
        self._sorted: list[float] = []

    def __len__(self) -> int:
        return len(self._sorted)

    def enter(self, trial_number: int, score: float) -> int:
        """Puts in a trial's score, in place of an earlier one of its own, and counts the better ones."""
        if trial_number in self._score_of:
            self._sorted.remove(self._score_of[trial_number])
        self._score_of[trial_number] = score
        insort(self._sorted, score)
        return bisect_left(self._sorted, score)

    def median(self) -> float:
        """The middle score, the better one of two; there must be one."""
        return self._sorted[(len(self._sorted) - 1) // 2]
