"""Compares search methods in virtual time, at equal device-seconds.

    python -m benchmarks.search --json                            # every method, 20 seeds, 1, 4, 16 and 64 workers
    python -m benchmarks.search --quick                           # a minute: is everything there?
    python -m benchmarks.search --ours 'early={scheduler: {grace_frac: 0.25}}' --method ours --method early

Every result is kept in the cache, so a run that is broken off goes on, and another variant costs only its own.
"""

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
import yaml

from benchmarks.search.comparison import Cell, Comparison, Result, budget_fits
from benchmarks.search.curves import CurveTable, Optimum
from benchmarks.search.methods import OURS, PEERS, Method, our_method

RECORDED = Path(__file__).with_name("minilm_scores.json")
_WORKERS, _QUICK_WORKERS = (1, 4, 16, 64), (1, 4)


def load_table(name: str) -> CurveTable:
    """`parametric`, or a file that `benchmarks.search.record` wrote."""
    if name == "parametric":
        from benchmarks.search.parametric import ParametricCurves

        return ParametricCurves()
    from benchmarks.search.recorded import RecordedCurves

    return RecordedCurves(Path(name))


def parse_variant(text: str) -> Method:
    """`NAME={...}`: our search with these settings of the YAML's `study:` section."""
    name, separator, settings = text.partition("=")
    if not separator or not name:
        raise typer.BadParameter(f"NAME={{sampler: ..., scheduler: ...}} is needed, got {text!r}")
    return our_method(name, yaml.safe_load(settings) or {})


def run(comparison: Comparison, cells: Sequence[Cell], num_processes: int) -> list[Result]:
    """All results, with the progress on stderr."""
    results: list[Result] = []
    started = time.monotonic()
    for result in comparison.run_all(cells, num_processes):
        results.append(result)
        left = (time.monotonic() - started) / len(results) * (len(cells) - len(results))
        cell = result.cell
        print(
            f"{len(results)}/{len(cells)} {cell.method} workers={cell.num_workers} seed={cell.seed} "
            f"{result.seconds:.1f} s, about {left / 60:.0f} min left",
            file=sys.stderr,
            flush=True,
        )
    return results


def main(
    table: Annotated[
        list[str] | None, typer.Option(help="parametric, or a recorded table's path; more than once")
    ] = None,
    method: Annotated[list[str] | None, typer.Option(help="only these methods; more than once")] = None,
    ours: Annotated[list[str] | None, typer.Option(help="a further variant of ours, NAME={study settings}")] = None,
    workers: Annotated[list[int] | None, typer.Option(min=1, help="numbers of workers; more than once")] = None,
    seeds: Annotated[int, typer.Option(min=2)] = 20,
    fits: Annotated[int | None, typer.Option(min=1, help="the budget in whole fits; by default by workers")] = None,
    processes: Annotated[int, typer.Option(min=1)] = os.cpu_count() or 1,
    cache: Annotated[Path, typer.Option(help="where results are kept")] = Path("build/search-cache"),
    figure: Annotated[Path | None, typer.Option(help="where to draw the regret curves; one file a table")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print rows as JSON")] = False,
    quick: Annotated[bool, typer.Option(help="2 seeds, few workers, small budgets")] = False,
) -> None:
    """Prints how every method fares on every table, as Markdown or JSON."""
    os.environ["OMP_NUM_THREADS"] = "1"
    from benchmarks.search.figure import regret_svg
    from benchmarks.search.report import as_markdown, curves_with_bands, make_rows

    variants = [our_method(OURS, {}), *map(parse_variant, ours or [])]
    known = {**{variant.name: variant for variant in variants}, **PEERS}
    unknown = sorted(set(method or []) - set(known))
    if unknown:
        raise typer.BadParameter(f"no such method: {', '.join(unknown)}; the methods are {', '.join(known)}")
    chosen = [known[name] for name in method] if method else list(known.values())

    def num_fits(num_workers: int) -> int:
        return fits or (8 if quick else budget_fits(num_workers))

    rows = []
    default_tables = ["parametric", *([str(RECORDED)] if RECORDED.exists() else [])]
    for table_name in table or default_tables:
        curves = load_table(table_name)
        comparison = Comparison(curves, Optimum(curves).score, chosen, cache)
        cells = [
            Cell(each.name, num_workers, seed, curves.mean_seconds * num_fits(num_workers))
            for seed in range(2 if quick else seeds)
            for num_workers in workers or (_QUICK_WORKERS if quick else _WORKERS)
            for each in chosen
        ]
        results = run(comparison, cells, processes)
        rows += make_rows(curves.name, results)
        if figure is not None:
            path = figure if len(table or default_tables) == 1 else figure.with_stem(f"{figure.stem}-{curves.name}")
            path.write_text(regret_svg(curves_with_bands(results), f"Regret against cost, {curves.name}"))
    if as_json:
        print(json.dumps([row.as_json() for row in rows], indent=1))
    else:
        for name in dict.fromkeys(row.table for row in rows):
            print(as_markdown([row for row in rows if row.table == name]) + "\n")


if __name__ == "__main__":
    typer.run(main)
