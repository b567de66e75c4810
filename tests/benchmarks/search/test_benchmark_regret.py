"""Regret, bands and ratios, by hand."""

from math import inf
from pathlib import Path

import numpy as np
import pytest
from hand_table import CurvesByName

from benchmarks.search.curves import Curve
from benchmarks.search.regret import (
    GRID_POINTS,
    Estimate,
    cost_grid,
    cost_ratio,
    cost_to_reach,
    final_difference,
    final_regret,
    regret_curve,
)
from benchmarks.search.simulator import Trace


def test_regret_is_that_of_the_trial_that_would_be_returned(tmp_path: Path) -> None:
    table = CurvesByName(tmp_path, {"bad": Curve((0.8, 0.5), (1.0, 1.0)), "good": Curve((0.9, 0.3), (1.0, 1.0))})
    trace = Trace(({"name": "bad"}, {"name": "good"}), ((50.0, 0), (150.0, 1)), 4, 0.0)
    regret = regret_curve(trace, table, best=0.2, device_seconds=200)
    # One grid point a device-second: nothing to return before 50, whose worth is the table's `untrained`, 9.
    assert cost_grid(200)[:2].tolist() == [1.0, 2.0] and len(regret) == GRID_POINTS
    assert regret[[0, 48]].tolist() == pytest.approx([8.8, 8.8])
    assert regret[[49, 148]].tolist() == pytest.approx([0.3, 0.3])
    assert regret[[149, 199]].tolist() == pytest.approx([0.1, 0.1])


@pytest.mark.parametrize(
    ("regret", "target", "share"),
    [
        ([4.0, 3.0, 2.0, 1.0], 2.0, 0.75),
        ([4.0, 3.0, 2.0, 1.0], 4.0, 0.25),
        ([4.0, 1.0, 3.0, 1.0], 2.0, 1.0),  # it has to stay there
        ([4.0, 3.0, 2.0, 1.0], 0.5, inf),
    ],
)
def test_cost_to_reach(regret: list[float], target: float, share: float) -> None:
    assert cost_to_reach(np.array(regret), target) == share


def test_the_ratio_is_of_costs_to_the_same_regret() -> None:
    stock_SG = np.tile([4.0, 3.0, 2.0, 2.0], (3, 1))  # there at .75
    ours_SG = np.tile([3.0, 2.0, 1.0, 1.0], (3, 1))  # there at .5
    assert cost_ratio(ours_SG, stock_SG) == Estimate(pytest.approx(2 / 3), pytest.approx(2 / 3), pytest.approx(2 / 3))
    assert cost_ratio(stock_SG, stock_SG).value == 1.0
    assert cost_ratio(stock_SG, ours_SG).value == inf


def test_the_band_of_a_mean_covers_it_and_differences_are_paired() -> None:
    final = np.random.default_rng(0).normal(1.0, 0.1, (20, 1))
    regret = final_regret(final)
    assert regret.value == pytest.approx(final.mean())
    # The standard error is .1 / √20 = .022; the band is four of them wide.
    assert regret.low < final.mean() < regret.high
    assert regret.high - regret.low == pytest.approx(4 * final.std() / np.sqrt(20), rel=0.1)
    # A constant advantage, seed by seed, has no uncertainty however much seeds differ.
    assert final_difference(final - 0.01, final) == Estimate(*[pytest.approx(-0.01)] * 3)
