"""ASHA against tables worked by hand."""

import random

import pytest

from ell_tune.choosing.asha import Asha, AshaConfig


@pytest.mark.parametrize(
    ("grace_frac", "reduction_factor", "num_steps", "rungs"),
    [
        (0.5, 2.0, 4, (2,)),
        (0.5, 2.0, 8, (4,)),
        (0.5, 2.0, 3, (2,)),  # the first evaluation that is no earlier than half
        (0.5, 2.0, 2, (1,)),
        (0.5, 2.0, 1, ()),
        (0.25, 2.0, 8, (2, 4)),
        (0.25, 4.0, 16, (4,)),
        (0.1, 3.0, 10, (1, 3, 9)),  # 0.1 * 3 is a little more than 0.3 in floating point
        (0.1, 2.0, 4, (1, 2, 4)[:2]),  # 0.4, 0.8 and 1.6 evaluations: step 1 twice is one rung
        (0.7, 2.0, 10, (7,)),
        (1.0, 2.0, 10, ()),
        (0.01, 10.0, 1000, (10, 100)),
    ],
)
def test_rungs_lie_at_fixed_shares_of_the_schedule(
    grace_frac: float, reduction_factor: float, num_steps: int, rungs: tuple[int, ...]
) -> None:
    asha = Asha(AshaConfig(grace_frac=grace_frac, reduction_factor=reduction_factor))
    assert asha.rungs(num_steps) == rungs


@pytest.mark.parametrize(
    ("reduction_factor", "scores", "stopped"),
    [
        # Of n at the rung the best ceil(n / factor) go on. Places, best first: 1/1, 2/2, 1/3, 2/4, 4/5, 1/6.
        (2.0, [0.50, 0.60, 0.40, 0.45, 0.55, 0.39], [False, True, False, False, True, False]),
        # 1/1, 1/2, 2/3 (one goes on), 1/4, 2/5 (two go on), 3/6.
        (3.0, [0.50, 0.40, 0.45, 0.39, 0.395, 0.398], [False, False, True, False, False, True]),
        # Equals go on together.
        (2.0, [0.5, 0.5, 0.5, 0.5], [False, False, False, False]),
    ],
)
def test_a_trial_stops_unless_it_is_among_the_best_so_far(
    reduction_factor: float, scores: list[float], stopped: list[bool]
) -> None:
    asha = Asha(AshaConfig(grace_frac=0.5, reduction_factor=reduction_factor))
    assert [asha.stops(number, 2, 4, score) is not None for number, score in enumerate(scores)] == stopped


def test_no_trial_stops_between_rungs_or_at_its_last_step() -> None:
    asha = Asha(AshaConfig(grace_frac=0.25, reduction_factor=2.0))
    stops = {step: [asha.stops(number, step, 8, float(number)) for number in range(3)] for step in range(1, 9)}
    assert {step for step, answers in stops.items() if any(answers)} == {2, 4}


def test_rungs_do_not_mix() -> None:
    asha = Asha(AshaConfig(grace_frac=0.25, reduction_factor=2.0))
    assert not asha.stops(0, 2, 8, 0.9)
    assert not asha.stops(0, 4, 8, 0.5)
    assert not asha.stops(1, 2, 8, 0.7)  # worse than 0.5, but that is another rung's
    assert asha.stops(1, 4, 8, 0.6)


def test_trials_with_other_numbers_of_evaluations_meet_at_the_same_share_of_the_schedule() -> None:
    asha = Asha(AshaConfig(grace_frac=0.5, reduction_factor=2.0))
    assert not asha.stops(0, 2, 4, 0.5)
    assert asha.stops(1, 4, 8, 0.6)
    assert not asha.stops(2, 3, 5, 0.9)  # 3/5 of a schedule is not compared with 1/2


def test_to_enter_a_score_again_changes_nothing() -> None:
    scores = {number: random.Random(number).random() for number in range(20)}
    once, often = (Asha(AshaConfig(grace_frac=0.5, reduction_factor=2.0)) for _ in range(2))
    for number, score in scores.items():
        once.stops(number, 2, 4, score)
        often.stops(number, 2, 4, score)
    order = list(scores)
    random.Random(0).shuffle(order)
    for number in order:
        often.stops(number, 2, 4, scores[number])
    for newcomer in (0.1, 0.3, 0.5, 0.7, 0.9):
        assert once.stops(100, 2, 4, newcomer) == often.stops(100, 2, 4, newcomer)
