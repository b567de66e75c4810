import math
from datetime import timedelta

import numpy as np
import pytest
from synthetic_study import START, study, trial

from analysis.ranking import best_so_far, by_end, expected_flattery, score_at
from ell_tune.trials.records import TrialState

STOPPED, RUNNING, FAILED = TrialState.STOPPED, TrialState.RUNNING, TrialState.FAILED


def test_best_so_far_by_hand() -> None:
    record = study(
        trial(0, None, state=FAILED),
        trial(1, 0.46),
        trial(2, 0.44, state=STOPPED),
        trial(3, 0.47),
        trial(4, 0.45),
    )
    assert best_so_far(record, record.trials) == [None, 0.46, 0.46, 0.46, 0.45]


def test_by_end_orders_by_end_and_puts_running_trials_last() -> None:
    record = study(
        trial(0, ended=START + timedelta(hours=3)), trial(1, state=RUNNING, ended=None),
        trial(2, ended=START + timedelta(hours=1)), trial(3, state=RUNNING, ended=None),
    )  # fmt: skip
    assert [t.number for t in by_end(record)] == [2, 0, 1, 3]


@pytest.mark.parametrize(
    ("curve", "step", "score"),
    [
        ({1: 0.5, 2: 0.46, 3: 0.47, 4: 0.45}, 3, 0.46),
        ({1: 0.5, 2: 0.46}, 2, 0.46),
        ({1: 0.5, 2: 0.46}, 3, None),
        ({}, 1, None),
        ({1: 0.5, 2: math.nan}, 2, None),
    ],
)
def test_score_at_a_step(curve: dict[int, float], step: int, score: float | None) -> None:
    assert score_at(trial(0, 0.5, curve=curve), step) == score


def test_one_score_flatters_nothing_and_two_by_the_known_constant() -> None:
    assert expected_flattery(1, 1.0) == pytest.approx(0, abs=1e-9)
    assert expected_flattery(2, 1.0) == pytest.approx(1 / math.sqrt(math.pi), abs=1e-6)


def test_best_of_ten_flatters_by_0012_in_the_fb3_field() -> None:
    assert expected_flattery(10) == pytest.approx(0.00123, abs=5e-6)


def test_flattery_agrees_with_simulation() -> None:
    minima = np.random.default_rng(0).normal(0, 0.002, (20_000, 50)).min(axis=1)
    assert expected_flattery(50, 0.002) == pytest.approx(-minima.mean(), rel=0.01)
