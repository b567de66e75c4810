"""Learning curves by formula, with the noise of few-epoch fine-tuning. `docs/search_evidence.md` has the whole formula.

What it is made to have, from what FB3's logs show: configs that differ by a few thousandths; early scores that rank
them loosely, because a high rate looks bad until it has decayed and a low one good; configs that diverge; costs that
differ; a seed that is worth .0016 on one fold (.0008 over four).
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from math import exp, log10
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.search.curves import Curve, curve_rng
from benchmarks.search.fields import flat_fields, from_units
from benchmarks.search.strategy import Params
from ell_tune.choosing.search_spec import load_search_spec

MEAN_PREDICTED = 0.65  # the score of predicting every target's mean
BEST_POSSIBLE = 0.446
SEED_SD, EVALUATION_SD, EARLY_SD = 0.0016, 0.0008, 0.005
DIVERGENCE_SD = 0.08  # in decades of the learning rate
_SECONDS = 100.0  # an evaluation's share of a fit, nothing frozen, batches of 8

_POOLING: Mapping[str, float] = {"mean": 0.0012, "attention": 0.0006, "weighted_layers": 0.0, "lstm": 0.0008}
_LOSS: Mapping[str, float] = {"smooth_l1": 0.0, "mse": 0.0006, "bce": 0.0010}


class ParametricCurves:
    """The `CurveTable` of the formula."""

    name = "parametric"
    num_steps = 8
    untrained = MEAN_PREDICTED

    def __init__(self) -> None:
        self.spec = load_search_spec(Path(__file__).with_name("parametric.yaml"))

    def curve(self, params: Params, seed: int) -> Curve:
        rng = curve_rng(params, seed)
        shares = np.arange(1, self.num_steps + 1) / self.num_steps
        left = 1 - shares
        scores = expected_curve(params, shares) + rng.normal(0, SEED_SD) + rng.normal(0, EARLY_SD) * left
        scores = scores + rng.normal(0, 1, self.num_steps) * (EVALUATION_SD + EARLY_SD * left)
        diverges_at = rng.integers(1, self.num_steps - 1)
        if margin(params) + rng.normal(0, DIVERGENCE_SD) > 0:
            scores[diverges_at - 1 :] = np.nan
        seconds = evaluation_seconds(params) * exp(rng.normal(0, 0.05)) * np.ones(self.num_steps)
        return Curve(tuple(map(float, scores)), tuple(map(float, seconds)))

    def final_scores(self, configs: Sequence[Params]) -> NDArray[np.float64]:
        end = np.ones(1)
        return np.array([_final(float(expected_curve(params, end)[0]), margin(params)) for params in configs])

    @cached_property
    def mean_seconds(self) -> float:
        fields, rng = flat_fields(self.spec.space), np.random.default_rng(0)
        configs = [from_units(fields, rng.random(len(fields))) for _ in range(1000)]
        return self.num_steps * float(np.mean([evaluation_seconds(params) for params in configs]))


def _final(converged: float, decades_too_high: float) -> float:
    """A fit that diverges is worth what predicting the mean is."""
    share = NormalDist(0, DIVERGENCE_SD).cdf(decades_too_high)
    return (1 - share) * converged + share * MEAN_PREDICTED


def rate_error(params: Params) -> float:
    """Decades by which the learning rate is above the best one for the batch size and the layers' decay."""
    best = -4.5 + 0.5 * log10(params["training.batch_size"] / 8) + 1.0 * (1 - params["optimizer.layer_rates.decay"])
    return log10(params["optimizer.lr"]) - best


def margin(params: Params) -> float:
    """Decades by which the learning rate is above where half of the fits diverge."""
    return rate_error(params) - 0.45 - 1.5 * params["schedule.warmup_frac"]


def expected_curve(params: Params, shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """The scores without noise at these shares of the schedule."""
    error = rate_error(params)
    trained = np.maximum(shares - params["schedule.warmup_frac"] / 2, 0)
    speed = 8.0 * 10 ** (0.5 * error)
    learning = (MEAN_PREDICTED - BEST_POSSIBLE) * np.exp(-speed * trained)
    restless = 0.012 * 10 ** (0.7 * error) * (1 - shares)  # a high rate does not settle before it has decayed
    relearning = 0.006 * params["reinit.num_layers"] * np.exp(-4 * trained)
    settled = BEST_POSSIBLE + _static(params, error) + learning + restless + relearning
    start = params.get("swa[on].start_frac")
    if start is None:
        return np.asarray(settled)
    gain = 0.0015 - 0.02 * (start - 0.7) ** 2
    return np.asarray(np.where(shares > start, settled - 0.5 * restless - gain, settled))


def _static(params: Params, error: float) -> float:
    """What the config loses for good."""
    head = log10(params["optimizer.head_lr"]) + 3.6 - 0.3 * error
    decay = (params["optimizer.layer_rates.decay"] - 0.88) / 0.2
    frozen, reinit = params["freeze.num_layers"] / 3, params["reinit.num_layers"]
    return (
        0.010 * error**2
        + 0.0015 * head**2
        + 0.002 * decay**2
        + 0.0005 * ((params["optimizer.weight_decay"] - 0.03) / 0.05) ** 2
        + 0.0005 * (reinit - 1) ** 2
        + 0.0006 * frozen**1.5
        + 0.0004 * reinit * frozen
        + 0.02 * (params["schedule.warmup_frac"] - 0.1) ** 2
        + _pooling(params)
        + _loss(params)
    )


def _pooling(params: Params) -> float:
    kind = params["pooling"]
    nested = 0.0
    if kind == "weighted_layers":
        nested = 0.0008 * ((params["pooling[weighted_layers].num_layers"] - 6) / 4) ** 2
    elif kind == "lstm":
        nested = 0.0004 * abs(params["pooling[lstm].hidden_size"] - 384) / 128
    return _POOLING[kind] + nested


def _loss(params: Params) -> float:
    kind = params["loss.criterion"]
    nested = 0.0007 * log10(params["loss.criterion[smooth_l1].beta"] / 0.3) ** 2 if kind == "smooth_l1" else 0.0
    return _LOSS[kind] + nested


def evaluation_seconds(params: Mapping[str, Any]) -> float:
    """Seconds from one evaluation to the next: a pass forward, and twice as much backward through what is trained."""
    passes = (1 + 2 * (1 - params["freeze.num_layers"] / 12)) / 3
    batches = (8 / params["training.batch_size"]) ** 0.15
    return _SECONDS * passes * batches * (1.08 if params["pooling"] == "lstm" else 1.0)
