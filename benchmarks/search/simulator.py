"""A search in virtual time: workers fit what a strategy suggests, and every fit is looked up in a table of curves."""

import heapq
from dataclasses import dataclass

from benchmarks.search.curves import Curve, CurveTable
from benchmarks.search.strategy import Params, Resume, Strategy


@dataclass(frozen=True)
class Trace:
    """What happened. Device-seconds are the virtual time times the number of workers, idle or not."""

    configs: tuple[Params, ...]  # of every trial, by number
    incumbents: tuple[tuple[float, int], ...]  # device-seconds, and the trial that leads from then on
    num_evaluations: int
    busy_seconds: float  # of all workers together, up to the last evaluation within the budget


@dataclass
class _Fit:
    curve: Curve
    step: int = 0  # evaluations made


class _Simulation:
    def __init__(self, strategy: Strategy, table: CurveTable, num_workers: int, seed: int) -> None:
        self._strategy, self._table, self._num_workers, self._seed = strategy, table, num_workers, seed
        self._free = num_workers
        self._fits: list[_Fit] = []
        self._configs: list[Params] = []
        self._events: list[tuple[float, int, int]] = []  # time, order of its making, trial
        self._num_events = 0
        self._incumbents: list[tuple[float, int]] = []
        self._busy_seconds, self._num_evaluations = 0.0, 0

    def run(self, horizon: float) -> Trace:
        self._start_trials(0.0)
        while self._events and self._events[0][0] <= horizon:
            now, _, trial = heapq.heappop(self._events)
            self._evaluate(trial, now)
            self._note_incumbent(now)
            self._start_trials(now)
        return Trace(tuple(self._configs), tuple(self._incumbents), self._num_evaluations, self._busy_seconds)

    def _start_trials(self, now: float) -> None:
        while self._free:
            suggestion = self._strategy.suggest(len(self._fits))
            if suggestion is None:
                return
            if isinstance(suggestion, Resume):
                trial = suggestion.trial
            else:
                trial = len(self._fits)
                self._configs.append(dict(suggestion))
                self._fits.append(_Fit(self._table.curve(suggestion, self._seed)))
            self._free -= 1
            self._train(trial, now)

    def _train(self, trial: int, now: float) -> None:
        fit = self._fits[trial]
        self._num_events += 1
        heapq.heappush(self._events, (now + fit.curve.seconds[fit.step], self._num_events, trial))

    def _evaluate(self, trial: int, now: float) -> None:
        fit = self._fits[trial]
        score, seconds = fit.curve.scores[fit.step], fit.curve.seconds[fit.step]
        fit.step += 1
        self._busy_seconds += seconds
        self._num_evaluations += 1
        goes_on = self._strategy.on_evaluation(trial, fit.step, score, seconds)
        if goes_on and fit.step < len(fit.curve.scores):
            self._train(trial, now)
            return
        if goes_on:
            self._strategy.on_completion(trial)
        self._free += 1

    def _note_incumbent(self, now: float) -> None:
        incumbent = self._strategy.incumbent()
        if incumbent is not None and (not self._incumbents or self._incumbents[-1][1] != incumbent):
            self._incumbents.append((now * self._num_workers, incumbent))


def simulate(strategy: Strategy, table: CurveTable, num_workers: int, device_seconds: float, seed: int) -> Trace:
    """Runs the strategy until the budget of device-seconds is used up; a fit's noise is that of `seed`.

    Events at the same time happen in the order in which their training began.
    """
    return _Simulation(strategy, table, num_workers, seed).run(device_seconds / num_workers)
