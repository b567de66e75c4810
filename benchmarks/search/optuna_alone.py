"""Optuna's ask and tell, as `Study.optimize` goes about it: TPE with its defaults, and one of its pruners.

A pruned trial is told as pruned, and a fit that ends with NaN as failed, which TPE ignores.
"""

import logging
from math import isnan

import optuna
from optuna.pruners import BasePruner
from optuna.trial import TrialState

from benchmarks.search.curves import CurveTable
from benchmarks.search.strategy import Params


class OptunaSearch:
    """A study in memory with a pruner."""

    def __init__(self, table: CurveTable, seed: int, pruner: BasePruner) -> None:
        optuna.logging.set_verbosity(logging.ERROR)
        sampler = optuna.samplers.TPESampler(seed=seed)
        # Hyperband derives a trial's bracket from the name of the study.
        name = f"seed-{seed}"
        self._study = optuna.create_study(study_name=name, direction="minimize", sampler=sampler, pruner=pruner)
        for config in table.spec.enqueue:
            self._study.enqueue_trial(table.spec.space.encode(config))
        self._space = table.spec.space
        self._trials: list[optuna.Trial] = []
        self._last: dict[int, float] = {}
        self._best: tuple[float, int] | None = None

    def suggest(self, trial: int) -> Params:
        asked = self._study.ask()
        self._space.suggest(asked)
        self._trials.append(asked)
        return asked.params

    def on_evaluation(self, trial: int, step: int, score: float, seconds: float) -> bool:
        self._last[trial] = score
        self._trials[trial].report(score, step)
        if not self._trials[trial].should_prune():
            return True
        self._study.tell(self._trials[trial], state=TrialState.PRUNED)
        return False

    def on_completion(self, trial: int) -> None:
        score = self._last[trial]
        if isnan(score):
            self._study.tell(self._trials[trial], state=TrialState.FAIL)
            return
        self._study.tell(self._trials[trial], score)
        self._best = (score, trial) if self._best is None else min(self._best, (score, trial))

    def incumbent(self) -> int | None:
        """`Study.best_trial`: of the complete ones."""
        return None if self._best is None else self._best[1]
