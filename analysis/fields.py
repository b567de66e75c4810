"""The hyperparameters of a study as a reader sees them: short labels, shown values, differing values."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ell_tune.trials.records import StudyRecord

ABSENT = "–"  # how a field that does not apply to a trial is shown
LOG_AXIS_RATIO = 20  # from this ratio of largest to smallest value, an axis is logarithmic


@dataclass(frozen=True)
class Field:
    """One searched field and its value in every trial that has it."""

    path: str
    label: str  # the shortest end of the dotted path that no other searched field shares
    values: Mapping[int, Any]  # trial number → value; conditional fields lack some trials

    @cached_property
    def is_continuous(self) -> bool:
        """Whether every value is a number (no boolean) and few of them recur, as a choice's values do."""
        values = self.values.values()
        return all(map(_is_number, values)) and 1 < len(set(values)) > len(values) / 2

    @cached_property
    def is_log(self) -> bool:
        """Whether the values are positive and span so much that they belong on a logarithmic axis."""
        if not self.is_continuous:
            return False
        lowest, highest = min(self.values.values()), max(self.values.values())
        return bool(lowest > 0 and highest / lowest >= LOG_AXIS_RATIO)

    @cached_property
    def categories(self) -> list[str]:
        """The distinct values as shown: numbers first and in their order, then the rest by name."""
        distinct = {show(value): value for value in self.values.values()}

        def order(name: str) -> tuple[bool, float, str]:
            value = distinct[name]
            return (False, value, name) if _is_number(value) else (True, 0.0, name)

        return sorted(distinct, key=order)

    def position(self, number: int) -> float:
        """A trial's place on this field's axis: its value, or the index of its category."""
        value = self.values[number]
        return float(value) if self.is_continuous else float(self.categories.index(show(value)))


def searched_fields(study: StudyRecord) -> list[Field]:
    """Every searched field, in the study's order, with the trials to which it applies."""
    labels = short_labels(study.searched)
    return [
        Field(
            path=path,
            label=labels[path],
            values={trial.number: trial.params[path] for trial in study.trials if path in trial.params},
        )
        for path in study.searched
    ]


def short_labels(paths: Iterable[str]) -> dict[str, str]:
    """Each dotted path's shortest end that no other path has and that is more than a component's `name`."""
    paths = list(paths)

    def shortest(path: str) -> str:
        parts = path.split(".")
        for start in range(len(parts) - 1, 0, -1):
            end = ".".join(parts[start:])
            if end != "name" and sum(f".{other}".endswith(f".{end}") for other in paths) == 1:
                return end
        return path

    return {path: shortest(path) for path in paths}


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested mapping as dotted path → value. Lists and empty mappings are values."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def differences(config: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """The dotted paths at which two configs differ → the base's value and the config's value, as shown."""
    here, there = flatten(config), flatten(base)
    return {
        path: (show(there[path]) if path in there else ABSENT, show(here[path]) if path in here else ABSENT)
        for path in there | here
        if path not in here or path not in there or here[path] != there[path]
    }


def show(value: Any) -> str:
    """A value as it stands in a YAML: `off` for None, five digits of a float, mappings in one line."""
    match value:
        case None:
            return "off"
        case bool():
            return str(value).lower()
        case float():
            return f"{value:.5g}"
        case Mapping():
            return "{" + ", ".join(f"{name}: {show(part)}" for name, part in value.items()) + "}"
        case list() | tuple():
            return "[" + ", ".join(show(part) for part in value) + "]"
        case _:
            return str(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
