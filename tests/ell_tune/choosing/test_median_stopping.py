"""Median stopping against tables worked by hand."""

from math import inf

import pytest

from ell_tune.choosing.median_stopping import MedianConfig, MedianStopping


def make(grace_frac: float = 0.5, min_trials: int = 3) -> MedianStopping:
    return MedianStopping(MedianConfig(grace_frac=grace_frac, min_trials=min_trials))


@pytest.mark.parametrize(
    ("grace_frac", "num_steps", "points"),
    [
        (0.5, 8, (4, 5, 6, 7)),
        (0.5, 5, (3, 4)),
        (0.5, 2, (1,)),
        (0.5, 1, ()),
        (0.01, 4, (1, 2, 3)),
        (1.0, 4, ()),
        (0.3, 10, (3, 4, 5, 6, 7, 8, 9)),  # 0.3 * 10 is a little more than 3 in floating point
    ],
)
def test_trials_are_compared_at_every_evaluation_after_the_grace_period_but_the_last(
    grace_frac: float, num_steps: int, points: tuple[int, ...]
) -> None:
    assert make(grace_frac).rungs(num_steps) == points


@pytest.mark.parametrize(
    ("min_trials", "scores", "stopped"),
    [
        # Medians so far, itself among them: 5, 5, 5, 4, 5, 4.
        (2, [0.5, 0.6, 0.5, 0.4, 0.9, 0.3], [False, True, False, False, True, False]),
        # As long as there are too few, the worst goes on: 5, 5, 6, 5.
        (3, [0.5, 0.9, 0.6, 0.5], [False, False, False, False]),
        (4, [0.5, 0.9, 0.8, 0.7], [False, False, False, False]),  # 0.7 is the better middle one of four
        (4, [0.5, 0.9, 0.6, 0.7], [False, False, False, True]),
        (2, [inf, inf, 0.5, inf, inf], [False, False, False, False, False]),  # the median itself is infinite
        (2, [0.5, 0.5, 0.5, inf], [False, False, False, True]),
    ],
)
def test_a_trial_worse_than_the_median_stops_once_there_are_enough(
    min_trials: int, scores: list[float], stopped: list[bool]
) -> None:
    scheduler = make(min_trials=min_trials)
    assert [scheduler.stops(number, 2, 4, score) is not None for number, score in enumerate(scores)] == stopped


def test_says_what_the_median_was_and_of_how_many() -> None:
    scheduler = make()
    assert [scheduler.stops(number, 4, 8, score) for number, score in enumerate([0.5, 0.61, 0.7])] == [
        None,
        None,
        "worse than the median 0.6100 of 3 trials at step 4",
    ]


def test_points_of_the_schedule_do_not_mix_but_meet_at_the_same_share() -> None:
    scheduler = make(min_trials=2)
    assert scheduler.stops(0, 2, 4, 0.5) is None
    assert scheduler.stops(1, 3, 4, 0.9) is None  # the only one there
    assert scheduler.stops(1, 4, 8, 0.6) is not None  # 4/8 is 2/4
