"""The comparison as a whole: what is kept, what is printed."""

import json
from pathlib import Path

import pytest
import typer
from hand_table import QuadraticTable
from typer.testing import CliRunner

from benchmarks.search import __main__ as command
from benchmarks.search.comparison import Cell, Comparison, Result, budget_fits
from benchmarks.search.figure import regret_svg
from benchmarks.search.methods import OURS, PEERS, STOCK, our_method
from benchmarks.search.report import as_markdown, curves_with_bands, make_rows
from ell_tune.config import InvalidConfig

BUDGET = 240.0


@pytest.fixture
def table(tmp_path: Path) -> QuadraticTable:
    return QuadraticTable(tmp_path)


def cells(*methods: str, seeds: int = 3) -> list[Cell]:
    return [Cell(method, 2, seed, BUDGET) for seed in range(seeds) for method in methods]


def test_a_kept_result_is_not_computed_again(table: QuadraticTable, tmp_path: Path) -> None:
    comparison = Comparison(table, 0.0, [PEERS["random"]], tmp_path / "cache")
    (cell,) = cells("random", seeds=1)
    result = comparison.run(cell)
    assert 6 <= result.num_trials <= 8 and result.num_evaluations == 24  # 240 s of two workers at 10 s each
    path = comparison.path(cell)
    kept = json.loads(path.read_text())
    path.write_text(json.dumps({**kept, "num_trials": 77}))
    again = Comparison(table, 0.0, [PEERS["random"]], tmp_path / "cache").run(cell)
    assert again.num_trials == 77 and again.regret == result.regret


def test_another_budget_seed_or_setting_is_another_result(table: QuadraticTable, tmp_path: Path) -> None:
    def path(cell: Cell, **settings: object) -> Path:
        return Comparison(table, 0.0, [our_method(OURS, settings)], tmp_path).path(cell)

    cell = Cell(OURS, 2, 0, BUDGET)
    others = [Cell(OURS, 2, 1, BUDGET), Cell(OURS, 4, 0, BUDGET), Cell(OURS, 2, 0, 2 * BUDGET)]
    paths = [path(cell), *map(path, others), path(cell, scheduler={"grace_frac": 0.25})]
    assert len(set(paths)) == len(paths) and path(cell) == paths[0]


def test_processes_give_what_one_process_gives(table: QuadraticTable, tmp_path: Path) -> None:
    def regrets(num_processes: int) -> dict[tuple[str, int], list[float]]:
        comparison = Comparison(table, 0.0, [PEERS["random"]], tmp_path / f"cache-{num_processes}")
        results = comparison.run_all(cells("random"), num_processes)
        return {(result.cell.method, result.cell.seed): result.regret for result in results}

    assert regrets(1) == regrets(2)


def test_budgets_leave_every_worker_a_few_fits() -> None:
    assert [budget_fits(workers) for workers in (1, 4, 16, 64)] == [60, 60, 64, 256]


def results_of(finals: dict[str, float]) -> list[Result]:
    """Regret falls in equal steps to the final one."""
    return [
        Result(Cell(method, 1, seed, BUDGET), [final + 0.1 * (199 - index) for index in range(200)], 7, 28, 0.1)
        for method, final in finals.items()
        for seed in range(3)
    ]


def test_rows_and_their_table() -> None:
    rows = make_rows("quadratic", results_of({STOCK: 0.020, OURS: 0.011, "random": 0.5}))
    by_method = {row.method: row for row in rows}
    assert by_method[OURS].final_regret == pytest.approx(0.011)
    assert by_method[OURS].cost_ratio_to_stock == 1.0  # the grid has no place between
    assert by_method["random"].cost_ratio_to_stock is None
    assert by_method["random"].ours_less == pytest.approx(-0.489)
    text = as_markdown(rows)
    assert text.index("| ours |") < text.index(f"| {STOCK} |") < text.index("| random |")
    assert "| random | 7 | 500.00 (500.00 to 500.00) | not reached | -489.00 (-489.00 to -489.00) |" in text
    json.dumps([row.as_json() for row in rows], allow_nan=False)


def test_the_picture_has_a_line_and_a_name_for_each_method() -> None:
    svg = regret_svg(curves_with_bands(results_of({STOCK: 0.02, OURS: 0.01})), "Regret")
    assert svg.count("<polyline") == svg.count("<polygon") == 2
    assert f">{STOCK}</text>" in svg and ">ours</text>" in svg and ">1 worker</text>" in svg


@pytest.mark.slow
def test_the_command_prints_rows(tmp_path: Path) -> None:
    arguments = ["--quick", "--json", "--table", "parametric", "--cache", str(tmp_path), "--workers", "2"]
    arguments += ["--processes", "1"]
    chosen = ["--method", "random", "--method", "early", "--ours", "early={scheduler: {grace_frac: 0.25}}"]
    app = typer.Typer()
    app.command()(command.main)
    result = CliRunner().invoke(app, [*arguments, *chosen])
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)
    assert [(row["method"], row["workers"], row["seeds"]) for row in rows] == [("random", 2, 2), ("early", 2, 2)]
    assert all(0 < row["low"] <= row["final_regret"] <= row["high"] < 0.25 for row in rows)


def test_a_variant_of_ours_is_checked() -> None:
    with pytest.raises(InvalidConfig, match="grace"):
        command.parse_variant("typo={scheduler: {name: asha, grace: 0.25}}")
