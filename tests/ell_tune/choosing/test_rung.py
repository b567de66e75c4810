"""A rung against sorting by hand."""

from math import inf
from statistics import median_low

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ell_tune.choosing.rung import Rung


def test_a_trials_place_is_the_number_of_better_ones() -> None:
    rung = Rung()
    places = [rung.enter(number, score) for number, score in enumerate([0.5, 0.7, 0.6, 0.4, inf, inf])]
    assert places == [0, 1, 1, 0, 4, 4]
    assert len(rung) == 6


def test_equals_share_the_better_place() -> None:
    rung = Rung()
    assert [rung.enter(number, 0.5) for number in range(3)] == [0, 0, 0]
    assert rung.enter(3, 0.6) == 3


def test_a_trials_new_score_takes_the_place_of_its_old_one() -> None:
    rung = Rung()
    for number, score in enumerate([0.5, 0.6, 0.7]):
        rung.enter(number, score)
    assert rung.enter(2, 0.4) == 0
    assert rung.enter(2, 0.4) == 0
    assert (len(rung), rung.enter(0, 0.5), rung.enter(1, 0.6)) == (3, 1, 2)


@pytest.mark.parametrize(
    ("scores", "median"),
    [([0.5], 0.5), ([0.7, 0.5], 0.5), ([0.7, 0.5, 0.6], 0.6), ([0.8, 0.7, 0.5, 0.6], 0.6), ([inf, 0.5, inf], inf)],
)
def test_the_median_is_the_middle_score_the_better_one_of_two(scores: list[float], median: float) -> None:
    rung = Rung()
    for number, score in enumerate(scores):
        rung.enter(number, score)
    assert rung.median() == median


@given(st.lists(st.tuples(st.integers(0, 6), st.floats(0, 1) | st.just(inf)), min_size=1))
def test_only_the_last_score_of_each_trial_counts(entries: list[tuple[int, float]]) -> None:
    rung = Rung()
    for number, score in entries:
        place = rung.enter(number, score)
    last = dict(entries)
    assert len(rung) == len(last)
    assert place == sum(other < entries[-1][1] for other in last.values())
    assert rung.median() == median_low(last.values())
