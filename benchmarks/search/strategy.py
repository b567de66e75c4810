"""What the simulator asks of a search method. The methods are the real objects behind thin adapters."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

Params = Mapping[str, Any]  # parameter name, as in Optuna, → value; only the parameters that apply


@dataclass(frozen=True)
class Resume:
    """A trial that was halted before its end goes on from where it stood."""

    trial: int


class Strategy(Protocol):
    """A sampler with a scheduler, told of one event at a time. Lower scores are better; NaN is a diverged fit."""

    def suggest(self, trial: int) -> Params | Resume | None:
        """What a free worker does: a new trial, which gets the number `trial`; or a halted one; or nothing for now."""

    def on_evaluation(self, trial: int, step: int, score: float, seconds: float) -> bool:
        """Takes note of an evaluation, `seconds` of training after the last, and says whether the trial goes on.

        A trial that is halted gives its worker back. `step` counts from 1. Of the last evaluation the answer is ignored
        and `on_completion` follows, but where the answer is no.
        """

    def on_completion(self, trial: int) -> None:
        """Takes note that a trial made its last evaluation."""

    def incumbent(self) -> int | None:
        """The trial that the method would return if the search ended now."""
