"""The comparison as rows, and the rows as Markdown."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.search.comparison import Result
from benchmarks.search.methods import OURS, STOCK
from benchmarks.search.regret import (
    Estimate,
    cost_ratio,
    final_difference,
    final_regret,
    finite_or_none,
    mean_curve,
    stacked,
)


@dataclass(frozen=True)
class Row:
    """One method at one number of workers. `ours_less` is our final regret minus the method's, below 0 where we win."""

    table: str
    workers: int
    method: str
    seeds: int
    budget_device_seconds: float
    trials: float  # mean over seeds
    final_regret: float
    low: float
    high: float
    cost_ratio_to_stock: float | None  # None: never reached
    cost_ratio_low: float | None
    cost_ratio_high: float | None
    ours_less: float | None
    ours_less_low: float | None
    ours_less_high: float | None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


Curves = dict[int, dict[str, NDArray[np.float64]]]  # workers → method → [S, G], seeds in order


def gather(results: Sequence[Result]) -> Curves:
    """The regret curves of all results."""
    curves: Curves = {}
    for workers in sorted({result.cell.num_workers for result in results}):
        for method in dict.fromkeys(result.cell.method for result in results):
            own = [result for result in results if (result.cell.num_workers, result.cell.method) == (workers, method)]
            own.sort(key=lambda result: result.cell.seed)
            curves.setdefault(workers, {})[method] = stacked([result.regret for result in own])
    return curves


def make_rows(table: str, results: Sequence[Result]) -> list[Row]:
    """A row for each number of workers and method. Ratios and differences are None where stock or ours was not run."""
    rows = []
    for workers, methods in gather(results).items():
        for method, curves_SG in methods.items():
            own = [result for result in results if (result.cell.num_workers, result.cell.method) == (workers, method)]
            regret = final_regret(curves_SG)
            ratio = cost_ratio(curves_SG, methods[STOCK]) if STOCK in methods else None
            less = final_difference(methods[OURS], curves_SG) if OURS in methods else None
            rows.append(
                Row(
                    table=table,
                    workers=workers,
                    method=method,
                    seeds=len(curves_SG),
                    budget_device_seconds=own[0].cell.device_seconds,
                    trials=float(np.mean([result.num_trials for result in own])),
                    final_regret=regret.value,
                    low=regret.low,
                    high=regret.high,
                    **_fields("cost_ratio", ratio, value="cost_ratio_to_stock"),
                    **_fields("ours_less", less, value="ours_less"),
                )
            )
    return rows


def _fields(prefix: str, estimate: Estimate | None, value: str) -> dict[str, Any]:
    if estimate is None:
        return {value: None, f"{prefix}_low": None, f"{prefix}_high": None}
    return {
        value: finite_or_none(estimate.value),
        f"{prefix}_low": finite_or_none(estimate.low),
        f"{prefix}_high": finite_or_none(estimate.high),
    }


def as_markdown(rows: Sequence[Row]) -> str:
    """A table for each number of workers, the lowest final regret first. Regrets in thousandths."""
    parts = []
    for workers in sorted({row.workers for row in rows}):
        own = sorted((row for row in rows if row.workers == workers), key=lambda row: row.final_regret)
        first = own[0]
        parts.append(
            f"**{first.table}, {workers} worker{'s' if workers > 1 else ''}**: {first.seeds} seeds, "
            f"{first.budget_device_seconds:,.0f} device-seconds\n\n"
            "| method | trials | final regret ×1000 | cost to stock's final regret | ours minus it ×1000 |\n"
            "|---|---|---|---|---|\n" + "\n".join(_line(row) for row in own)
        )
    return "\n\n".join(parts)


def _line(row: Row) -> str:
    regret = _with_band(1000 * row.final_regret, 1000 * row.low, 1000 * row.high)
    ratio = _with_band(row.cost_ratio_to_stock, row.cost_ratio_low, row.cost_ratio_high)
    less = [None if part is None else 1000 * part for part in (row.ours_less, row.ours_less_low, row.ours_less_high)]
    difference = "–" if row.method == OURS or less[0] is None else _with_band(*less)
    return f"| {row.method} | {row.trials:.0f} | {regret} | {'–' if row.method == STOCK else ratio} | {difference} |"


def _with_band(value: float | None, low: float | None, high: float | None) -> str:
    if value is None and low is None:
        return "not reached"
    shown = ["∞" if part is None else f"{part:.2f}" for part in (value, low, high)]
    return f"{shown[0]} ({shown[1]} to {shown[2]})"


def curves_with_bands(results: Sequence[Result]) -> dict[int, dict[str, tuple[NDArray[np.float64], ...]]]:
    """Workers → method → mean, low and high on the grid."""
    return {
        workers: {method: mean_curve(curves_SG) for method, curves_SG in methods.items()}
        for workers, methods in gather(results).items()
    }
