"""Every method is driven as its library drives it, and none knows more than another."""

import random
from collections.abc import Iterator
from importlib.util import find_spec
from math import isfinite
from pathlib import Path

import numpy as np
import optuna
import pytest
from hand_table import NUM_STEPS, QuadraticTable
from studies import make_source

from benchmarks.search.curves import Curve
from benchmarks.search.methods import OURS, PEERS, Method, our_method
from benchmarks.search.ours import OurSearch
from benchmarks.search.ray_tune import RaySearch, asha
from benchmarks.search.simulator import Trace, simulate
from benchmarks.search.strategy import Params
from ell_tune.running.jobs import EndKind, JobEnd
from ell_tune.runs.budget import Budget
from ell_tune.trainable import Progress
from ell_tune.trials.ranking import best_trial

METHODS = {OURS: our_method(OURS, {}), **PEERS}
# CQR fits its quantile models anew at every suggestion, which takes seconds.
pytestmark = pytest.mark.filterwarnings("ignore:Define-by-run function passed")  # Ray's, where it takes over a second
NEEDS_SYNE_TUNE = pytest.mark.skipif(find_spec("syne_tune") is None, reason="needs the extra `peers`")
EVERY_METHOD = pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name,
            marks=[*[pytest.mark.slow] * ("cqr" in name), *[NEEDS_SYNE_TUNE] * name.startswith("syne-tune")],
        )
        for name in METHODS
    ],
)


@pytest.fixture(autouse=True)
def _global_generators() -> Iterator[None]:
    """Syne Tune seeds them."""
    states = random.getstate(), np.random.get_state()
    yield
    random.setstate(states[0])
    np.random.set_state(states[1])


@pytest.fixture
def table(tmp_path: Path) -> QuadraticTable:
    return QuadraticTable(tmp_path)


def run(method: Method, table: QuadraticTable, seed: int = 0, num_fits: int = 6) -> Trace:
    return simulate(method.make(table, seed), table, 2, num_fits * table.mean_seconds, seed)


@EVERY_METHOD
def test_every_method_searches_the_same_space_from_the_same_first_configs(name: str, table: QuadraticTable) -> None:
    trace = run(METHODS[name], table)
    assert [params["x"] for params in trace.configs[:2]] == [0.0, 2.5]  # the base config, and the enqueued one
    assert len(trace.configs) >= 6
    for params in trace.configs:
        trial = optuna.trial.FixedTrial(dict(params))
        assert table.spec.space.encode(table.spec.space.suggest(trial)) == params
    assert trace.incumbents


@EVERY_METHOD
def test_a_method_is_a_function_of_its_seed(name: str, table: QuadraticTable) -> None:
    first, again, other = (run(METHODS[name], table, seed) for seed in (0, 0, 1))
    assert first == again
    assert first.configs != other.configs


def test_a_config_and_a_seed_have_one_curve(table: QuadraticTable) -> None:
    params = {"x": 1.0, "y": 2}
    assert table.curve(params, 0) == table.curve({"y": 2, "x": 1.0}, 0)
    assert table.curve(params, 0) != table.curve(params, 1)
    assert table.curve(params, 0) != table.curve({**params, "y": 3}, 0)


def test_ours_decides_as_over_a_journal_on_disk(table: QuadraticTable, tmp_path: Path) -> None:
    settings = {"num_folds": 2, "sampler": {"name": "tpe", "num_startup_trials": 4}}
    source, study = make_source(tmp_path / "study", Budget(12))
    simulated = OurSearch(table, {**settings, "seed": 42}, seed=42)
    for number in range(12):
        job, params = source.next_job(), simulated.suggest(number)
        assert job is not None and isinstance(params, dict)
        assert table.spec.space.encode(job.config) == params
        curve = table.curve(params, seed=0)
        for step, score in enumerate(curve.scores, start=1):
            goes_on = source.on_progress(job, Progress(step, NUM_STEPS, score), 10.0)
            assert simulated.on_evaluation(number, step, score, 10.0) == goes_on
            if not goes_on:
                break
        else:
            source.on_end(job, JobEnd(EndKind.COMPLETE, score=min(curve.scores)))
            simulated.on_completion(number)
        best = best_trial(study.record().trials)
        assert best is not None and simulated.incumbent() == best.number
    assert 0 < sum(trial.state == "stopped" for trial in study.record().trials) < 12
    assert study.record().trials[-1].params == simulated.study.record().trials[-1].params


class _Diverging(QuadraticTable):
    def curve(self, params: Params, seed: int) -> Curve:
        curve = super().curve(params, seed)
        if params["x"] < 1:
            return Curve((curve.scores[0], *[float("nan")] * (NUM_STEPS - 1)), curve.seconds)
        return curve


@pytest.mark.filterwarnings("ignore:All-NaN slice encountered")  # Ray's ASHA, when only NaN stands at a rung
@EVERY_METHOD
def test_no_method_returns_a_diverged_trial_or_breaks_on_one(name: str, tmp_path: Path) -> None:
    table = _Diverging(tmp_path)
    trace = run(METHODS[name], table, num_fits=10)
    assert any(params["x"] < 1 for params in trace.configs)
    assert trace.configs[trace.incumbents[-1][1]]["x"] >= 1
    assert all(isfinite(cost) for cost, _ in trace.incumbents)


def test_ray_asha_by_hand(table: QuadraticTable) -> None:
    """Rungs at 1 and 4 of 4; of what was there before, a trial has to be at least in the best quarter."""
    search = RaySearch(table, 0, asha(table))
    answers = []
    for trial, score in enumerate([0.5, 0.4, 0.6, 0.45]):
        search.suggest(trial)
        answers.append(search.on_evaluation(trial, 1, score, 10.0))
    # .4 beats .5; .6 does not; the best quarter of (.5, .4, .6) ends at .45, which is not worse than itself.
    assert answers == [True, True, False, True]
    # Stopped trials are complete with their last score.
    told = {trial.number: (trial.state.name, trial.value) for trial in search._searcher._ot_study.trials}
    assert told[2] == ("COMPLETE", 0.6) and told[0] == ("RUNNING", None)
    assert search.incumbent() == 1
    # At `max_t` the scheduler says stop, and that ends the trial.
    assert not search.on_evaluation(1, NUM_STEPS, 0.3, 10.0)
    assert search._searcher._ot_study.trials[1].value == 0.3
