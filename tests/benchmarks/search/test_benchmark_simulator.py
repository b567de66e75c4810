"""Virtual time, by hand."""

from pathlib import Path

import pytest
from hand_table import CurvesByName, ScriptedStrategy

from benchmarks.search.curves import Curve
from benchmarks.search.simulator import simulate

CURVES = {"quick": Curve((0.5, 0.4), (1.0, 1.0)), "slow": Curve((0.6, 0.3), (3.0, 3.0))}


@pytest.fixture
def table(tmp_path: Path) -> CurvesByName:
    return CurvesByName(tmp_path, CURVES)


def test_one_worker_does_one_thing_at_a_time(table: CurvesByName) -> None:
    strategy = ScriptedStrategy(["quick", "slow"])
    trace = simulate(strategy, table, num_workers=1, device_seconds=100, seed=0)
    assert strategy.told == [(0, 1, 0.5), (0, 2, 0.4), (1, 1, 0.6), (1, 2, 0.3)]
    assert strategy.completed == [0, 1]
    # The quick fit ends at 2 s, so the slow one is first heard of at 5 s.
    assert trace.incumbents == ((1.0, 0), (5.0, 1))
    assert (trace.num_evaluations, trace.busy_seconds) == (4, 8.0)
    assert trace.configs == ({"name": "quick"}, {"name": "slow"})


def test_two_workers_share_the_virtual_time(table: CurvesByName) -> None:
    strategy = ScriptedStrategy(["slow", "quick", "quick", "quick"])
    trace = simulate(strategy, table, num_workers=2, device_seconds=100, seed=0)
    # Worker 1: slow at 3 and 6 s. Worker 2: quick at 1, 2, then 3, 4, then 5, 6. At 3 s the slow one began earlier.
    assert [(trial, step) for trial, step, _ in strategy.told] == [
        *[(1, 1), (1, 2), (0, 1), (2, 1), (2, 2), (3, 1), (0, 2), (3, 2)]
    ]
    # A second of both workers is two device-seconds.
    assert trace.incumbents == ((2.0, 1), (6.0, 0), (6.0, 2), (10.0, 3), (12.0, 0), (12.0, 3))
    assert trace.busy_seconds == 12.0


def test_the_budget_ends_the_search_and_counts_every_worker(table: CurvesByName) -> None:
    strategy = ScriptedStrategy(["slow", "quick", "quick"])
    # Two workers have 3 s each.
    trace = simulate(strategy, table, num_workers=2, device_seconds=6, seed=0)
    assert [(trial, step) for trial, step, _ in strategy.told] == [(1, 1), (1, 2), (0, 1), (2, 1)]
    assert trace.num_evaluations == 4


def test_a_halted_trial_gives_its_worker_back_and_goes_on_where_it_stood(table: CurvesByName) -> None:
    strategy = ScriptedStrategy(["slow", "quick", 0], halts=[(0, 1)])
    simulate(strategy, table, num_workers=1, device_seconds=100, seed=0)
    assert [(trial, step) for trial, step, _ in strategy.told] == [(0, 1), (1, 1), (1, 2), (0, 2)]
    assert strategy.completed == [1, 0]


def test_a_worker_without_a_suggestion_asks_again_at_the_next_event(table: CurvesByName) -> None:
    strategy = ScriptedStrategy(["slow", None, "quick"])
    trace = simulate(strategy, table, num_workers=2, device_seconds=100, seed=0)
    # Nothing for worker 2 until 3 s; then quick at 4 and 5 s.
    assert [(trial, step) for trial, step, _ in strategy.told] == [(0, 1), (1, 1), (1, 2), (0, 2)]
    assert trace.busy_seconds == 8.0
