"""Tables of learning curves: what a fit of any config of a space would report, and how good it really is."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.search.fields import flat_fields, from_units
from benchmarks.search.strategy import Params
from ell_tune.choosing.search_spec import SearchSpec

_OPTIMUM_SEED = 20_260_101


@dataclass(frozen=True)
class Curve:
    """One fit: for each of its evaluations the score (NaN once it has diverged) and the seconds since the last."""

    scores: tuple[float, ...]
    seconds: tuple[float, ...]


class CurveTable(Protocol):
    """A space, and the fits of its configs."""

    name: str
    spec: SearchSpec
    num_steps: int  # evaluations of a whole fit

    def curve(self, params: Params, seed: int) -> Curve:
        """The fit of a config; the same for the same config and seed, whoever asks."""

    def final_scores(self, configs: Sequence[Params]) -> NDArray[np.float64]:
        """The expected score at the end of each config's schedule, without noise: what regret is measured in."""

    @property
    def mean_seconds(self) -> float:
        """What a whole fit of a random config takes."""

    @property
    def untrained(self) -> float:
        """The score of a method that has nothing to return yet."""


def curve_rng(params: Params, seed: int) -> np.random.Generator:
    """The generator of a fit's noise: a function of the config and the seed."""
    text = json.dumps([seed, sorted(params.items())])
    return np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big"))


class Optimum:
    """The best expected score of a table, searched for with far more evaluations than any method has."""

    def __init__(self, table: CurveTable, num_random: int = 20_000, num_rounds: int = 40) -> None:
        self._table, self._num_random, self._num_rounds = table, num_random, num_rounds

    @cached_property
    def score(self) -> float:
        fields = flat_fields(self._table.spec.space)
        rng = np.random.default_rng(_OPTIMUM_SEED)

        def scores(units: NDArray[np.float64]) -> NDArray[np.float64]:
            return self._table.final_scores([from_units(fields, row) for row in units])

        units = rng.random((self._num_random, len(fields)))
        values = scores(units)
        width = 0.2
        for _ in range(self._num_rounds):  # the best 50 each have 10 children, which differ in some of their fields
            best = np.argsort(values)[:50]
            units, values = units[best], values[best]
            children = np.repeat(units, 10, axis=0)
            moved = rng.random(children.shape) < 0.3
            children = np.clip(children + moved * rng.normal(0, width, children.shape), 0, 1)
            units, values = np.concatenate([units, children]), np.concatenate([values, scores(children)])
            width *= 0.9
        return float(values.min())
