"""The search space: which fields of a `Config` are searched, over which values, and under which condition.

    search:
      optimizer.lr: {log: [1e-5, 1e-4], default: 2e-5}
      reinit.num_layers: {int: [0, 3]}
      pooling:                                # a nested choice is a condition: hidden_size is searched only with lstm
        choice:
          - {name: mean}
          - {name: lstm, hidden_size: {int: [128, 512], step: 128}}
      swa:
        choice: [off, {start_frac: {float: [0.5, 0.9]}}]

A field that is there only with one alternative is searched inside that alternative: `swa.start_frac` alone is refused
while `swa` is off in the base config. In Optuna a searched field carries its dotted path as its name, one inside a
choice the alternative's label too: `pooling[lstm].hidden_size`.
"""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from math import inf, prod
from typing import Any, Protocol

import optuna

from ell_tune.dotted import differences, get_at, set_at

Label = str | int | float | bool


class OutsideDomain(ValueError):
    """A value that a domain does not contain."""


class FixedFieldDiffers(OutsideDomain):
    """A config that has other fixed fields than the base config."""

    def __init__(self, paths: Sequence[str]) -> None:
        self.paths = tuple(paths)
        super().__init__(f"{', '.join(paths)} differs from the base config, and is not searched")


class Domain(Protocol):
    """The values of one searched field."""

    def suggest(self, name: str, trial: optuna.Trial) -> Any:
        """Lets the sampler choose a value."""

    def encode(self, name: str, value: Any) -> dict[str, Any]:
        """The Optuna parameters whose suggestion would be `value`. Raises `OutsideDomain`."""

    def names(self, name: str) -> Iterator[str]:
        """The Optuna parameters that the domain may use."""

    @property
    def num_values(self) -> float:
        """How many values there are; infinite for real numbers."""


@dataclass(frozen=True)
class Numeric:
    """An interval of numbers, both ends included."""

    kind: str  # int | float | log
    low: float
    high: float
    step: int = 1

    def suggest(self, name: str, trial: optuna.Trial) -> Any:
        if self.kind == "int":
            return trial.suggest_int(name, int(self.low), int(self.high), step=self.step)
        return trial.suggest_float(name, self.low, self.high, log=self.kind == "log")

    def encode(self, name: str, value: Any) -> dict[str, Any]:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not self.low <= value <= self.high:
            raise OutsideDomain(f"{name} = {value!r} lies outside the searched [{self.low}, {self.high}]")
        if self.kind == "int" and (value - self.low) % self.step:
            raise OutsideDomain(f"{name} = {value!r} is not {self.low} plus a multiple of the step {self.step}")
        return {name: int(value) if self.kind == "int" else float(value)}

    def names(self, name: str) -> Iterator[str]:
        yield name

    @property
    def num_values(self) -> float:
        return (self.high - self.low) // self.step + 1 if self.kind == "int" else inf


@dataclass(frozen=True)
class Alternative:
    """One option of a choice: a plain value, or a component's config some of whose fields are searched."""

    label: Label
    value: Any  # with every default filled in
    nested: Mapping[str, Domain] = field(default_factory=dict)  # path inside `value` → domain


@dataclass(frozen=True)
class Choice:
    """One of several alternatives."""

    alternatives: tuple[Alternative, ...]

    def suggest(self, name: str, trial: optuna.Trial) -> Any:
        label = trial.suggest_categorical(name, [alternative.label for alternative in self.alternatives])
        chosen = next(alternative for alternative in self.alternatives if alternative.label == label)
        value = deepcopy(chosen.value)
        for path, domain in chosen.nested.items():
            set_at(value, path, domain.suggest(_nested_name(name, chosen, path), trial))
        return value

    def encode(self, name: str, value: Any) -> dict[str, Any]:
        labels = ", ".join(str(alternative.label) for alternative in self.alternatives)
        problem = OutsideDomain(f"{name} = {value!r} is none of the searched alternatives ({labels})")
        for alternative in self.alternatives:
            if not _matches(alternative, value):
                continue
            params: dict[str, Any] = {name: alternative.label}
            try:
                for path, domain in alternative.nested.items():
                    params |= domain.encode(_nested_name(name, alternative, path), get_at(value, path))
                return params
            except OutsideDomain as error:  # another alternative may hold the value as it is
                problem = error
        raise problem

    def names(self, name: str) -> Iterator[str]:
        yield name
        for alternative in self.alternatives:
            for path, domain in alternative.nested.items():
                yield from domain.names(_nested_name(name, alternative, path))

    @property
    def num_values(self) -> float:
        return sum(
            prod(domain.num_values for domain in alternative.nested.values()) for alternative in self.alternatives
        )


def _nested_name(name: str, alternative: Alternative, path: str) -> str:
    return f"{name}[{alternative.label}].{path}"


def _matches(alternative: Alternative, value: Any) -> bool:
    """Whether `value` is the alternative but for its searched fields."""
    if not alternative.nested:
        return bool(alternative.value == value)
    if not isinstance(value, Mapping) or set(value) != set(alternative.value):
        return False
    fixed = deepcopy(alternative.value)
    try:
        for path in alternative.nested:
            set_at(fixed, path, get_at(value, path))
    except KeyError:
        return False
    return bool(fixed == value)


@dataclass(frozen=True)
class Space:
    """Every searched field over a base config."""

    base: Mapping[str, Any]  # the whole config, nested, every default filled in
    domains: Mapping[str, Domain]  # dotted path → domain

    def suggest(self, trial: optuna.Trial) -> dict[str, Any]:
        """A whole config, its searched fields chosen by the study's sampler."""
        config = deepcopy(dict(self.base))
        for path, domain in self.domains.items():
            set_at(config, path, domain.suggest(path, trial))
        return config

    def encode(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The Optuna parameters whose suggestion would be this whole config.

        Raises:
            OutsideDomain: a searched field lies outside its domain, or the config's component has no such field.
            FixedFieldDiffers: a field that is not searched has another value than in the base config.
        """
        params: dict[str, Any] = {}
        for path, domain in self.domains.items():
            try:
                value = get_at(config, path)
            except KeyError:
                raise OutsideDomain(f"{path} is searched, but the config has no such field") from None
            params |= domain.encode(path, value)
        changed = [path for path in differences(self.base, config) if not self._is_searched(path)]
        if changed:
            raise FixedFieldDiffers(changed)
        return params

    def _is_searched(self, path: str) -> bool:
        return any(path == searched or path.startswith(f"{searched}.") for searched in self.domains)

    @property
    def searched(self) -> tuple[str, ...]:
        """The names of every parameter that Optuna may see."""
        return tuple(name for path, domain in self.domains.items() for name in domain.names(path))

    @property
    def num_configs(self) -> float:
        """How many configs there are; infinite where a real number is searched."""
        return prod(domain.num_values for domain in self.domains.values())
