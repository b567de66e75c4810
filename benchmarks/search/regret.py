"""From traces to figures: regret against cost, with bands by the bootstrap over seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite

import numpy as np
from numpy.typing import NDArray

from benchmarks.search.curves import CurveTable
from benchmarks.search.simulator import Trace

GRID_POINTS = 200
_NUM_RESAMPLES, _LEVELS = 2000, (2.5, 97.5)


def cost_grid(device_seconds: float) -> NDArray[np.float64]:
    """The costs at which regret is looked at, from one `GRID_POINTS`-th of the budget to all of it."""
    return np.linspace(0, device_seconds, GRID_POINTS + 1)[1:]


def regret_curve(trace: Trace, table: CurveTable, best: float, device_seconds: float) -> NDArray[np.float64]:
    """Simple regret on the grid: the expected final score of the trial that would be returned, above the best."""
    leaders = [trace.configs[trial] for _, trial in trace.incumbents]
    scores = np.array([table.untrained, *(table.final_scores(leaders) if leaders else [])])
    since = np.array([cost for cost, _ in trace.incumbents])
    return np.asarray(scores[np.searchsorted(since, cost_grid(device_seconds), side="right")] - best)


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds, or something made of such means, with its 95 % band."""

    value: float
    low: float
    high: float


def _resamples(num_seeds: int) -> NDArray[np.int64]:
    """The same for every method, so that differences are of the same seeds."""
    return np.random.default_rng(0).integers(0, num_seeds, (_NUM_RESAMPLES, num_seeds))


def _band(samples: NDArray[np.float64]) -> tuple[float, float]:
    # No interpolation: a ratio may be infinite.
    low, high = np.percentile(samples, _LEVELS, method="nearest")
    return float(low), float(high)


def mean_curve(curves_SG: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Mean, low and high at each grid point, of S seeds' curves."""
    means = curves_SG[_resamples(len(curves_SG))].mean(axis=1)
    low, high = np.percentile(means, _LEVELS, axis=0)
    return curves_SG.mean(axis=0), low, high


def final_regret(curves_SG: NDArray[np.float64]) -> Estimate:
    """At the end of the budget."""
    final_S = curves_SG[:, -1]
    return Estimate(float(final_S.mean()), *_band(final_S[_resamples(len(final_S))].mean(axis=1)))


def final_difference(curves_SG: NDArray[np.float64], others_SG: NDArray[np.float64]) -> Estimate:
    """The final regret minus the other's, seed by seed."""
    return final_regret(curves_SG - others_SG)


def cost_to_reach(mean_G: NDArray[np.float64], target: float) -> float:
    """The share of the budget from which on the mean regret stays at the target or below; infinite if it never does."""
    above = np.flatnonzero(mean_G > target)
    if len(above) == 0:
        return 1 / len(mean_G)
    return inf if above[-1] == len(mean_G) - 1 else float((above[-1] + 2) / len(mean_G))


def cost_ratio(curves_SG: NDArray[np.float64], stock_SG: NDArray[np.float64]) -> Estimate:
    """The cost at which the mean regret reaches the stock's final one, over the stock's own cost to get there."""

    def ratio(own_G: NDArray[np.float64], stock_G: NDArray[np.float64]) -> float:
        target = float(stock_G[-1])
        return cost_to_reach(own_G, target) / cost_to_reach(stock_G, target)

    samples = [ratio(curves_SG[rows].mean(axis=0), stock_SG[rows].mean(axis=0)) for rows in _resamples(len(stock_SG))]
    return Estimate(ratio(curves_SG.mean(axis=0), stock_SG.mean(axis=0)), *_band(np.array(samples)))


def finite_or_none(value: float) -> float | None:
    """For JSON, which knows no infinity."""
    return value if isfinite(value) else None


def stacked(curves: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    """The curves of several seeds, [S, G]."""
    return np.array(curves, dtype=np.float64)
