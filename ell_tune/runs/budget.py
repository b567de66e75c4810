"""When a search ends. Everything is counted over the whole study, whatever ran before."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from math import inf


@dataclass(frozen=True)
class Budget:
    """What the user is willing to spend. When any of it is spent, trials under way end at their next evaluation.

    Not so the disk's bytes: they end nothing, and weights of trials go instead (`ell_tune.runs.disk_budget`).
    """

    num_trials: int
    seconds: float = inf  # wall time of all searches of the study
    device_seconds: float = inf  # training time times GPUs, or times CPUs where trials have no GPU, over all trials
    trial_seconds: float = inf  # training time of one trial; it alone is stopped
    target_score: float = -inf  # a complete trial with this score ends the search
    disk_bytes: float | None = None  # that the study's artifacts may take, weights included; None: no weights are kept


class Meter:
    """What a study has spent so far."""

    def __init__(self, budget: Budget, clock: Callable[[], float] = time.monotonic) -> None:
        self._budget = budget
        self._clock = clock
        self._began_at = clock()
        self._seconds_before = 0.0
        self._device_seconds = 0.0
        self._best_complete = inf

    def take_in(self, search_seconds: float, device_seconds: float) -> None:
        """Counts a trial of an earlier search: when in all search time it was last heard of, and what it cost."""
        self._seconds_before = max(self._seconds_before, search_seconds)
        self._device_seconds += device_seconds

    def add_device_seconds(self, device_seconds: float) -> None:
        """Counts training time of a trial of this search."""
        self._device_seconds += device_seconds

    def note_complete(self, score: float) -> None:
        """Takes note of a complete trial's score."""
        self._best_complete = min(self._best_complete, score)

    @property
    def seconds(self) -> float:
        """Wall time of all searches of the study."""
        return self._seconds_before + self._clock() - self._began_at

    @property
    def seconds_left(self) -> float:
        return self._budget.seconds - self.seconds

    def spent(self) -> str | None:
        """Why the search ends, if it does before all of its trials have ended."""
        budget = self._budget
        if self._best_complete <= budget.target_score:
            return f"a trial reached {self._best_complete:.4f}, and the target is {budget.target_score:g}"
        if self.seconds >= budget.seconds:
            return f"the time budget of {budget.seconds:.0f} s is used up"
        if self._device_seconds >= budget.device_seconds:
            return f"the budget of {budget.device_seconds:.0f} device-seconds is used up"
        return None
