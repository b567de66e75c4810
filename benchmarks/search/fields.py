"""A search space as a flat list of fields, each with its condition, for what knows no nested spaces."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.search.strategy import Params
from ell_tune.spaces.space import Choice, Domain, Label, Numeric, Space


@dataclass(frozen=True)
class Field:
    """One parameter. It applies where every choice of `conditions` has the label that stands there."""

    name: str
    domain: Numeric | tuple[Label, ...]
    conditions: Mapping[str, Label]

    def applies(self, params: Params) -> bool:
        return all(params.get(name) == label for name, label in self.conditions.items())

    def at(self, unit: float) -> Any:
        """The value at a place of [0, 1], its domain spread evenly over it (evenly in the logarithm for `log`)."""
        if isinstance(self.domain, tuple):
            return self.domain[min(int(unit * len(self.domain)), len(self.domain) - 1)]
        low, high = self.domain.low, self.domain.high
        if self.domain.kind == "int":
            num_values = int((high - low) // self.domain.step) + 1
            return int(low) + self.domain.step * min(int(unit * num_values), num_values - 1)
        if self.domain.kind == "log":
            return float(np.clip(low * (high / low) ** unit, low, high))
        return float(low + (high - low) * unit)

    def unit(self, value: Any) -> float:
        """The middle of the places that `at` gives this value for."""
        if isinstance(self.domain, tuple):
            return (self.domain.index(value) + 0.5) / len(self.domain)
        low, high = self.domain.low, self.domain.high
        if self.domain.kind == "int":
            return float(((value - low) // self.domain.step + 0.5) / ((high - low) // self.domain.step + 1))
        if self.domain.kind == "log":
            return float(np.log(value / low) / np.log(high / low))
        return float((value - low) / (high - low))


def flat_fields(space: Space) -> tuple[Field, ...]:
    """Every parameter of the space, a choice before what hangs on it."""
    return tuple(field for path, domain in space.domains.items() for field in _fields(path, domain, {}))


def _fields(name: str, domain: Domain, conditions: Mapping[str, Label]) -> Iterator[Field]:
    if isinstance(domain, Numeric):
        yield Field(name, domain, conditions)
        return
    assert isinstance(domain, Choice)
    yield Field(name, tuple(alternative.label for alternative in domain.alternatives), conditions)
    for alternative in domain.alternatives:
        for path, nested in alternative.nested.items():
            inner = {**conditions, name: alternative.label}
            yield from _fields(f"{name}[{alternative.label}].{path}", nested, inner)


def from_units(fields: Sequence[Field], units: Sequence[float] | NDArray[np.float64]) -> dict[str, Any]:
    """The parameters at a point of the unit cube, without those that do not apply."""
    params: dict[str, Any] = {}
    for field, unit in zip(fields, units, strict=True):
        if field.applies(params):
            params[field.name] = field.at(unit)
    return params


def to_features(fields: Sequence[Field], params: Params) -> NDArray[np.float64]:
    """Numbers in [0, 1]: a number's place in its domain (.5 where it does not apply), a choice as one-hot."""
    features: list[float] = []
    for field in fields:
        if isinstance(field.domain, tuple):
            features += [float(params.get(field.name) == label) for label in field.domain]
        else:
            features.append(field.unit(params[field.name]) if field.name in params else 0.5)
    return np.array(features)
