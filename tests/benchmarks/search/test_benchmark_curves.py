"""The two kinds of tables, and the optimum that regret is measured from."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from benchmarks.search.curves import Optimum
from benchmarks.search.fields import flat_fields, from_units
from benchmarks.search.parametric import SEED_SD, ParametricCurves
from benchmarks.search.record import TABLE
from benchmarks.search.recorded import RecordedCurves
from benchmarks.search.strategy import Params


@pytest.fixture(scope="module")
def parametric() -> ParametricCurves:
    return ParametricCurves()


@pytest.fixture(scope="module")
def configs(parametric: ParametricCurves) -> list[Params]:
    fields, rng = flat_fields(parametric.spec.space), np.random.default_rng(1)
    return [from_units(fields, rng.random(len(fields))) for _ in range(400)]


def test_early_scores_rank_loosely_and_late_ones_better(parametric: ParametricCurves, configs: list[Params]) -> None:
    finals = parametric.final_scores(configs)
    scores = np.array([parametric.curve(params, 0).scores for params in configs])
    good = (finals < np.quantile(finals, 0.3)) & np.isfinite(scores[:, -1])
    first, half, last = (spearmanr(scores[good, step], finals[good])[0] for step in (0, 3, 7))
    assert 0.0 < first < 0.35 < half < 0.65 < last < 0.95


def test_seeds_scatter_around_the_expected_score(parametric: ParametricCurves, configs: list[Params]) -> None:
    base = parametric.spec.space.encode(parametric.spec.enqueue[0])
    finals = [parametric.curve(base, seed).scores[-1] for seed in range(300)]
    assert np.mean(finals) == pytest.approx(parametric.final_scores([base])[0], abs=3e-4)
    assert np.std(finals) == pytest.approx(np.hypot(SEED_SD, 0.0008), rel=0.15)


def test_some_configs_diverge_for_good_and_cost_differs(parametric: ParametricCurves, configs: list[Params]) -> None:
    curves = [parametric.curve(params, 0) for params in configs]
    diverged = [curve for curve in curves if np.isnan(curve.scores[-1])]
    assert 0.02 < len(diverged) / len(curves) < 0.25
    for curve in diverged:
        first = int(np.flatnonzero(np.isnan(curve.scores))[0])
        assert np.isfinite(curve.scores[:first]).all() and np.isnan(curve.scores[first:]).all()
    seconds = [sum(curve.seconds) for curve in curves]
    assert max(seconds) > 1.8 * min(seconds)
    assert np.mean(seconds) == pytest.approx(parametric.mean_seconds, rel=0.05)


def test_no_random_config_is_better_than_the_optimum(parametric: ParametricCurves, configs: list[Params]) -> None:
    best = Optimum(parametric, num_random=500).score
    assert best < parametric.final_scores(configs).min() - 0.001


@pytest.fixture(scope="module")
def recorded(
    parametric: ParametricCurves, configs: list[Params], tmp_path_factory: pytest.TempPathFactory
) -> RecordedCurves:
    """A table as `record` writes it, its fits those of the formula."""
    rows = []
    for params in configs[:80]:
        curve = parametric.curve(params, 0)
        scores = [score if np.isfinite(score) else None for score in curve.scores]
        rows.append({"params": params, "scores": scores, "seconds": curve.seconds[0]})
    path = tmp_path_factory.mktemp("table") / "recorded.json"
    path.write_text(json.dumps({"num_steps": 8, "rows": rows}))
    return RecordedCurves(path, parametric.spec)


def test_the_surrogate_ranks_configs_it_has_not_seen(
    recorded: RecordedCurves, parametric: ParametricCurves, configs: list[Params]
) -> None:
    unseen = configs[80:]
    assert spearmanr(recorded.final_scores(unseen), parametric.final_scores(unseen))[0] > 0.45
    assert recorded.mean_seconds == pytest.approx(parametric.mean_seconds, rel=0.1)


def test_the_surrogates_noise_is_seeded_and_centred(recorded: RecordedCurves, configs: list[Params]) -> None:
    params = next(params for params in configs[80:] if np.isfinite(recorded.curve(params, 0).scores[-1]))
    assert recorded.curve(params, 0) == recorded.curve(params, 0)
    finals = [recorded.curve(params, seed).scores[-1] for seed in range(200)]
    expected = recorded.final_scores([params])[0]
    assert len(set(finals)) > 20
    assert abs(np.median(finals) - expected) < np.std(finals)


def test_a_config_next_to_a_diverged_one_diverges(recorded: RecordedCurves, configs: list[Params]) -> None:
    diverged = next(params for params in configs[:80] if np.isnan(ParametricCurves().curve(params, 0).scores[-1]))
    near = {**diverged, "optimizer.weight_decay": diverged["optimizer.weight_decay"] * 0.999}
    assert np.isnan(recorded.curve(near, 0).scores[-1])
    assert recorded.final_scores([near])[0] == recorded.untrained


def test_too_small_a_table_is_refused(tmp_path: Path, parametric: ParametricCurves, configs: list[Params]) -> None:
    row = {"params": configs[0], "scores": [0.5] * 8, "seconds": 1.0}
    path = tmp_path / "small.json"
    path.write_text(json.dumps({"num_steps": 8, "rows": [row] * 3}))
    with pytest.raises(ValueError, match="at least 20 whole fits are needed, got 3"):
        RecordedCurves(path, parametric.spec)


def test_the_recorded_table_holds_scores_and_nothing_of_the_essays() -> None:
    table = json.loads(TABLE.read_text())
    assert set(table) == {"num_steps", "data_sha256", "essays", "rows"} and len(table["rows"]) >= 60
    curves = RecordedCurves(TABLE)
    for row in table["rows"]:
        assert set(row) == {"params", "scores", "seconds"}
        assert set(row["params"]) <= set(curves.spec.space.searched)
        assert all(isinstance(value, int | float) or len(value) < 20 for value in row["params"].values())
