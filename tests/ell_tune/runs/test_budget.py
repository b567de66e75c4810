"""The meter by hand, with a clock that passes when it is told to."""

from math import inf

import pytest

from ell_tune.runs.budget import Budget, Meter


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_wall_time_counts_over_all_searches_and_not_between_them() -> None:
    clock = Clock()
    meter = Meter(Budget(num_trials=1, seconds=100), clock)
    meter.take_in(search_seconds=30, device_seconds=0)
    meter.take_in(search_seconds=20, device_seconds=0)  # another trial, last heard of earlier
    assert (meter.seconds, meter.seconds_left) == (30, 70)
    clock.now += 69
    assert (meter.seconds, meter.seconds_left, meter.spent()) == (99, 1, None)
    clock.now += 1
    assert meter.spent() == "the time budget of 100 s is used up"
    clock.now += 5
    assert meter.seconds_left == -5


def test_device_time_adds_up_over_all_trials() -> None:
    meter = Meter(Budget(num_trials=1, device_seconds=100), Clock())
    meter.take_in(search_seconds=30, device_seconds=40)
    meter.take_in(search_seconds=20, device_seconds=40)
    meter.add_device_seconds(19)
    assert meter.spent() is None
    meter.add_device_seconds(1)
    assert meter.spent() == "the budget of 100 device-seconds is used up"


@pytest.mark.parametrize(
    ("scores", "reason"),
    [
        ([0.46, 0.451], None),
        ([0.46, 0.45], "a trial reached 0.4500, and the target is 0.45"),
        ([0.43, 0.46], "a trial reached 0.4300, and the target is 0.45"),
    ],
)
def test_the_target_is_reached_by_the_best_complete_trial(scores: list[float], reason: str | None) -> None:
    meter = Meter(Budget(num_trials=1, target_score=0.45), Clock())
    for score in scores:
        meter.note_complete(score)
    assert meter.spent() == reason


def test_a_budget_without_limits_is_never_spent() -> None:
    clock = Clock()
    meter = Meter(Budget(num_trials=1), clock)
    clock.now += 1e9
    meter.add_device_seconds(1e9)
    meter.note_complete(0.0)
    assert (meter.spent(), meter.seconds_left) == (None, inf)


def test_of_several_limits_the_target_is_named_first() -> None:
    meter = Meter(Budget(num_trials=1, seconds=1, device_seconds=1, target_score=0.5), Clock())
    meter.take_in(search_seconds=2, device_seconds=2)
    assert meter.spent() == "the time budget of 1 s is used up"
    meter.note_complete(0.5)
    assert meter.spent() == "a trial reached 0.5000, and the target is 0.5"
