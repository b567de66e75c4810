"""A table of curves written by hand, over the space of the fake trainable, and a strategy that follows a script."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from studies import write_space

from benchmarks.search.curves import Curve, curve_rng
from benchmarks.search.strategy import Params, Resume
from ell_tune.choosing.search_spec import load_search_spec

NUM_STEPS = 4


class QuadraticTable:
    """Each score is (x - 3)² / 100, plus what is left of the schedule, plus a little noise; 10 seconds a step."""

    name, num_steps, untrained, mean_seconds = "quadratic", NUM_STEPS, 2.0, 40.0

    def __init__(self, folder: Path) -> None:
        self.spec = load_search_spec(write_space(folder / "space.yaml"))

    def curve(self, params: Params, seed: int) -> Curve:
        noise = curve_rng(params, seed).normal(0, 0.001)
        final = self._final(params) + noise
        return Curve(tuple(final + 0.1 * (NUM_STEPS - step) for step in range(1, NUM_STEPS + 1)), (10.0,) * NUM_STEPS)

    def final_scores(self, configs: Sequence[Params]) -> NDArray[np.float64]:
        return np.array([self._final(params) for params in configs])

    def _final(self, params: Params) -> float:
        return float((params["x"] - 3) ** 2 / 100)


class CurvesByName:
    """A config is `{"name": ...}`, and its curve stands in a dict."""

    name, num_steps, untrained, mean_seconds = "by name", 2, 9.0, 10.0

    def __init__(self, folder: Path, curves: Mapping[str, Curve]) -> None:
        self.spec = load_search_spec(write_space(folder / "space.yaml"))
        self._curves = curves

    def curve(self, params: Params, seed: int) -> Curve:
        return self._curves[params["name"]]

    def final_scores(self, configs: Sequence[Params]) -> NDArray[np.float64]:
        return np.array([self._curves[params["name"]].scores[-1] for params in configs])


class ScriptedStrategy:
    """Starts what the script says, halts trials at some evaluations, and writes down what it is told."""

    def __init__(self, script: Sequence[str | int | None], halts: Sequence[tuple[int, int]] = ()) -> None:
        self._script: Iterator[str | int | None] = iter(script)  # a config's name, a halted trial's number, nothing
        self._halts = set(halts)  # trial, step
        self.told: list[tuple[int, int, float]] = []
        self.completed: list[int] = []

    def suggest(self, trial: int) -> Params | Resume | None:
        item = next(self._script, None)
        return Resume(item) if isinstance(item, int) else None if item is None else {"name": item}

    def on_evaluation(self, trial: int, step: int, score: float, seconds: float) -> bool:
        self.told.append((trial, step, score))
        return (trial, step) not in self._halts

    def on_completion(self, trial: int) -> None:
        self.completed.append(trial)

    def incumbent(self) -> int | None:
        return self.told[-1][0] if self.told else None
