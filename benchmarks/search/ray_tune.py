"""Ray Tune's own searcher and scheduler, called in the order in which `TuneController` calls them.

A trial that the scheduler stops is complete for the searcher, with its last score. A NaN is a score like any other.
What `ResultGrid.get_best_result` returns is the trial with the best last score, wherever it stopped.
"""

import logging
from math import isnan
from typing import Any

import optuna
from optuna.samplers import BaseSampler
from ray.tune.experiment import Trial
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search.optuna import OptunaSearch

from benchmarks.search.curves import CurveTable
from benchmarks.search.strategy import Params

_METRIC = "score"
_NO_CONTROLLER: Any = None  # neither ASHA nor FIFO looks at it


def asha(table: CurveTable, grace_period: int = 1, reduction_factor: float = 4) -> AsyncHyperBandScheduler:
    """With Ray's defaults, but for `max_t`, which each user has to give."""
    return AsyncHyperBandScheduler(
        metric=_METRIC,
        mode="min",
        max_t=table.num_steps,
        grace_period=grace_period,
        reduction_factor=reduction_factor,
    )


class RaySearch:
    """`OptunaSearch`, with its default sampler or another one, and a scheduler."""

    def __init__(
        self, table: CurveTable, seed: int, scheduler: TrialScheduler | None, sampler: BaseSampler | None = None
    ) -> None:
        space = table.spec.space
        optuna.logging.set_verbosity(logging.WARNING)
        logging.getLogger("ray.tune.search.optuna").setLevel(logging.ERROR)  # of every NaN that it is told

        def define(trial: optuna.Trial) -> None:
            space.suggest(trial)

        self._scheduler: TrialScheduler = scheduler or FIFOScheduler()
        self._searcher = OptunaSearch(
            space=define,
            metric=_METRIC,
            mode="min",
            points_to_evaluate=[space.encode(config) for config in table.spec.enqueue],
            sampler=sampler,
            seed=seed if sampler is None else None,
        )
        self._trials: list[Trial] = []
        self._last: dict[int, float] = {}  # trial → its last score
        self._results: dict[int, dict[str, Any]] = {}

    def suggest(self, trial: int) -> Params:
        tune_trial = Trial("simulated", stub=True, trial_id=f"{trial:05d}")
        params = self._searcher.suggest(tune_trial.trial_id)
        assert isinstance(params, dict)
        self._scheduler.on_trial_add(_NO_CONTROLLER, tune_trial)
        self._trials.append(tune_trial)
        return params

    def on_evaluation(self, trial: int, step: int, score: float, seconds: float) -> bool:
        tune_trial = self._trials[trial]
        result = {_METRIC: score, "training_iteration": step}
        self._results[trial], self._last[trial] = result, score
        if self._scheduler.on_trial_result(_NO_CONTROLLER, tune_trial, result) == TrialScheduler.STOP:
            self._end(trial)
            return False
        self._searcher.on_trial_result(tune_trial.trial_id, result)
        return True

    def on_completion(self, trial: int) -> None:
        self._end(trial)

    def _end(self, trial: int) -> None:
        self._scheduler.on_trial_complete(_NO_CONTROLLER, self._trials[trial], self._results[trial])
        self._searcher.on_trial_complete(self._trials[trial].trial_id, result=self._results[trial])

    def incumbent(self) -> int | None:
        scored = [trial for trial, score in self._last.items() if not isnan(score)]
        return min(scored, key=lambda trial: self._last[trial], default=None)
