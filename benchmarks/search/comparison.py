"""Runs methods on a table over seeds and numbers of workers, several processes at a time, and keeps every result.

A result lies in the cache under a hash of all that it follows from: the code that decides, the table, the budget, the
method's settings, the number of workers and the seed. A comparison that is broken off goes on.
"""

import ast
import hashlib
import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.search.curves import CurveTable
from benchmarks.search.methods import Method
from benchmarks.search.regret import regret_curve
from benchmarks.search.simulator import simulate
from ell_tune.files.atomic import write_whole

_HERE = Path(__file__).parent
# What our decisions follow from.
_DECIDING = (
    *(
        "runs/search_source",
        "runs/tried_configs",
        "choosing/search_spec",
        "choosing/samplers",
        "spaces/space",
        "studies/study",
        "choosing/telling",
        "runs/flight",
        "choosing/constraints",
        "runs/budget",
    ),
    *("choosing/schedulers", "choosing/asha", "choosing/hyperband", "choosing/median_stopping", "choosing/rung"),
)
_CORE = ("simulator.py", "curves.py", "fields.py", "strategy.py", "regret.py")


@dataclass(frozen=True)
class Cell:
    """One simulated search."""

    method: str
    num_workers: int
    seed: int
    device_seconds: float


@dataclass(frozen=True)
class Result:
    """What is kept of it."""

    cell: Cell
    regret: list[float]  # on `cost_grid`
    num_trials: int
    num_evaluations: int
    seconds: float  # of CPU time that the simulation took


def budget_fits(num_workers: int) -> int:
    """The budget in whole fits of mean cost: 60 in all, but at least four for each worker."""
    return max(60, 4 * num_workers)


def _end_when_told() -> None:
    """Undoes what libraries of the parent, such as Ray, make of SIGTERM: the pool ends its processes by it."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


class Comparison:
    """A table, the best expected score in it, and the methods that are run on it."""

    def __init__(self, table: CurveTable, best: float, methods: Sequence[Method], cache: Path) -> None:
        self.table = table
        self.methods = {method.name: method for method in methods}
        self._best = best
        self._cache = cache
        self._code = {method.name: self._code_hash(method) for method in methods}

    def _code_hash(self, method: Method) -> str:
        table_file = Path(sys.modules[type(self.table).__module__].__file__ or "")
        files = [*(_HERE / name for name in _CORE), _HERE / f"{method.adapter}.py", table_file]
        if method.adapter == "ours":
            root = _HERE.parents[1] / "ell_tune"
            files += [root / f"{name}.py" for name in _DECIDING]
        digest = hashlib.sha256(json.dumps(self.table.spec.document, sort_keys=True).encode())
        for path in sorted(files):
            digest.update(_code(path).encode())
        return digest.hexdigest()

    def path(self, cell: Cell) -> Path:
        """Where the cell's result is kept."""
        method = self.methods[cell.method]
        what = [self.table.name, self._best, self._code[cell.method], dict(method.settings), asdict(cell)]
        key = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:24]
        return self._cache / self.table.name / f"{cell.method}-{cell.num_workers}-{cell.seed}-{key}.json"

    def run(self, cell: Cell) -> Result:
        """The cell's result, from the cache where it is there."""
        path = self.path(cell)
        if path.exists():
            kept = json.loads(path.read_text())
            return Result(**{**kept, "cell": Cell(**kept["cell"])})
        started = time.process_time()
        strategy = self.methods[cell.method].make(self.table, cell.seed)
        trace = simulate(strategy, self.table, cell.num_workers, cell.device_seconds, cell.seed)
        regret = regret_curve(trace, self.table, self._best, cell.device_seconds)
        result = Result(cell, regret.tolist(), len(trace.configs), trace.num_evaluations, time.process_time() - started)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(asdict(result)))
        return result

    def run_all(self, cells: Sequence[Cell], num_processes: int) -> Iterator[Result]:
        """Every cell's result, in the order in which they come."""
        if num_processes == 1:
            yield from map(self.run, cells)
            return
        os.environ["OMP_NUM_THREADS"] = "1"  # before a library in a child reads it
        global _running
        _running = self
        with multiprocessing.get_context("fork").Pool(num_processes, _end_when_told) as pool:
            yield from pool.imap_unordered(_run_cell, cells)


def _code(path: Path) -> str:
    """A module without its comments, docstrings and line breaks: what is said of the code changes no result."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return ast.dump(tree)


_running: Comparison | None = None  # inherited by the forked processes: a table need not be picklable


def _run_cell(cell: Cell) -> Result:
    assert _running is not None
    return _running.run(cell)
