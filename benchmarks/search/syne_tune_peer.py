"""Syne Tune's schedulers, called in the order in which its `Tuner` calls them.

Its spaces know no conditions, so every nested parameter is always there, and the fit ignores those that do not apply.
A fit that diverges fails, as a script that raises would: its models do not take NaN. What `Tuner.best_config` returns
is the trial with the best score of any evaluation.
"""

import logging
import random
from collections.abc import Callable, Mapping
from datetime import datetime
from math import inf, isnan
from typing import Any

import numpy as np
from syne_tune import config_space
from syne_tune.backend.trial_status import Trial
from syne_tune.optimizer.baselines import ASHA, ASHACQR, BOHB, CQR
from syne_tune.optimizer.scheduler import SchedulerDecision, TrialScheduler

from benchmarks.search.curves import CurveTable
from benchmarks.search.fields import Field, flat_fields
from benchmarks.search.strategy import Params

_METRIC, _STEP = "score", "step"
_CREATED = datetime(2026, 1, 1)
_SCHEDULERS: Mapping[str, Callable[..., TrialScheduler]] = {"asha": ASHA, "bohb": BOHB, "asha-cqr": ASHACQR, "cqr": CQR}


class SyneTuneSearch:
    """One of `asha`, `bohb`, `asha-cqr`, and `cqr`, which stops nothing; with its defaults, but for `max_t`."""

    def __init__(self, table: CurveTable, seed: int, name: str) -> None:
        logging.getLogger("syne_tune").setLevel(logging.ERROR)  # it warns of how it passes on its own options
        # Some of its draws come from the global generators.
        random.seed(seed)
        np.random.seed(seed % 2**32)
        self._fields = flat_fields(table.spec.space)
        first = [self._whole(table.spec.space.encode(config)) for config in table.spec.enqueue]
        options: dict[str, Any] = {"metric": _METRIC, "random_seed": seed, "points_to_evaluate": first}
        if name != "cqr":
            options |= {"time_attr": _STEP, "max_t": table.num_steps}
        self._scheduler = _SCHEDULERS[name](_config_space(self._fields), **options)
        self._trials: list[Trial] = []
        self._last: dict[int, dict[str, Any]] = {}
        self._best: dict[int, float] = {}

    def _whole(self, params: Params) -> dict[str, Any]:
        """Also the parameters that do not apply, each in the middle of its domain."""
        return {field.name: _outward(field, params.get(field.name, field.at(0.5))) for field in self._fields}

    def suggest(self, trial: int) -> Params | None:
        suggestion = self._scheduler.suggest()
        if suggestion is None:  # a finite space that is used up
            return None
        self._trials.append(Trial(trial, dict(suggestion.config), _CREATED))
        self._scheduler.on_trial_add(self._trials[-1])
        params: dict[str, Any] = {}
        for field in self._fields:
            if field.applies(params):
                params[field.name] = _inward(field, suggestion.config[field.name])
        return params

    def on_evaluation(self, trial: int, step: int, score: float, seconds: float) -> bool:
        if isnan(score):
            self._best.pop(trial, None)
            self._scheduler.on_trial_error(self._trials[trial])
            return False
        self._last[trial] = {_METRIC: score, _STEP: step}
        self._best[trial] = min(score, self._best.get(trial, inf))
        if self._scheduler.on_trial_result(self._trials[trial], self._last[trial]) == SchedulerDecision.STOP:
            self._scheduler.on_trial_remove(self._trials[trial])
            return False
        return True

    def on_completion(self, trial: int) -> None:
        self._scheduler.on_trial_complete(self._trials[trial], self._last[trial])

    def incumbent(self) -> int | None:
        return min(self._best, key=lambda trial: self._best[trial], default=None)


def _config_space(fields: tuple[Field, ...]) -> dict[str, Any]:
    return {field.name: _domain(field) for field in fields}


def _domain(field: Field) -> Any:
    if isinstance(field.domain, tuple):
        return config_space.choice([str(label) for label in field.domain])
    low, high = field.domain.low, field.domain.high
    if field.domain.kind == "log":
        return config_space.loguniform(low, high)
    if field.domain.kind == "float":
        return config_space.uniform(low, high)
    if field.domain.step == 1:
        return config_space.randint(int(low), int(high))
    size = int((high - low) // field.domain.step) + 1
    return config_space.finrange(low, high, size, cast_int=True)


def _outward(field: Field, value: Any) -> Any:
    return str(value) if isinstance(field.domain, tuple) else value


def _inward(field: Field, value: Any) -> Any:
    if isinstance(field.domain, tuple):
        return next(label for label in field.domain if str(label) == value)
    return int(value) if field.domain.kind == "int" else float(value)
