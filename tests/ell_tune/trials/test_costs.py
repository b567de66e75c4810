"""Costs of trials, and the fronts that early stopping spares."""

from math import inf

import pytest

from ell_tune.trainable import MEASURES
from ell_tune.trials.costs import COSTS, Fronts, cost_of


def test_a_cost_is_a_measure_or_the_training_time() -> None:
    assert set(COSTS) == {*MEASURES, "seconds"}


def test_the_training_time_is_that_of_the_whole_schedule() -> None:
    measured = {"schedule_seconds": 30.0, "num_parameters": 1e6}
    assert cost_of("seconds", measured, step=2, num_steps=8) == 120.0
    assert cost_of("num_parameters", measured, step=2, num_steps=8) == 1e6
    assert cost_of("peak_memory_mib", measured, step=2, num_steps=8) is None
    assert cost_of("seconds", {"schedule_seconds": 0.0}, step=0, num_steps=8) is None


@pytest.mark.parametrize(
    ("score", "cost", "is_on_front"),
    [
        (0.5, 1.0, True),  # as another, in both
        (0.4, 9.0, True),
        (0.9, 0.5, True),
        (0.5, 1.1, False),
        (0.6, 1.0, False),
        (0.4, None, True),  # the best score at any cost
        (0.6, None, False),
    ],
)
def test_a_trial_that_no_other_beats_in_both_is_on_the_front(
    score: float, cost: float | None, is_on_front: bool
) -> None:
    fronts = Fronts()
    fronts.enter(0, 2, 4, 0.5, 1.0)
    fronts.enter(1, 1, 4, 0.1, 0.1)  # at another step
    fronts.enter(2, 1, 2, inf, 0.1)  # has diverged
    fronts.enter(7, 4, 8, score, cost)
    assert fronts.has(7, 2, 4) == is_on_front


def test_a_cost_counts_as_it_was_measured_last() -> None:
    fronts = Fronts()
    fronts.enter(0, 1, 4, 0.5, 1.0)
    fronts.enter(1, 1, 4, 0.6, 2.0)
    assert not fronts.has(1, 1, 4)
    fronts.enter(0, 2, 4, 0.4, 3.0)
    assert fronts.has(1, 1, 4)
