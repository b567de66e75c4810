"""Dotted paths (`optimizer.lr`) into nested mappings and into the fields of a `Config`."""

import types
from collections.abc import Iterator, Mapping
from copy import deepcopy
from difflib import SequenceMatcher
from typing import Any, get_args

from pydantic import BaseModel

_NEAR = 0.6  # the least likeness of what a word may have meant
_BEGINNING = 3  # the fewest letters by which a word may be known
_AS_NEAR = 0.05  # by how much less alike the others may be than the nearest


def get_at(nested: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path. Raises `KeyError` where there is none."""
    value: Any = nested
    for key in path.split("."):
        if not isinstance(value, Mapping):
            raise KeyError(path)
        value = value[key]
    return value


def set_at(nested: dict[str, Any], path: str, value: Any) -> None:
    """Sets the value at a dotted path, in place, making the mappings on the way."""
    *parents, last = path.split(".")
    for key in parents:
        child = nested.get(key)
        if not isinstance(child, dict):
            child = nested[key] = {}
        nested = child
    nested[last] = value


def expand(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """Nests dotted keys: `{"optimizer.lr": 1}` becomes `{"optimizer": {"lr": 1}}`."""
    nested: dict[str, Any] = {}
    for path, value in mapping.items():
        for leaf_path, leaf in flatten(value, path) if isinstance(value, Mapping) and value else [(path, value)]:
            set_at(nested, leaf_path, deepcopy(leaf))
    return nested


def flatten(mapping: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf of a nested mapping with its dotted path; an empty mapping is a leaf."""
    for key, value in mapping.items():
        path = f"{prefix}.{key}" if prefix else str(key)
        if isinstance(value, Mapping) and value:
            yield from flatten(value, path)
        else:
            yield path, value


def merged(base: Mapping[str, Any], changes: Mapping[str, Any], *models: type[BaseModel]) -> dict[str, Any]:
    """`base` with the nested `changes` laid over it, both values for a config of one of the `models`.

    Where a field takes one of several components, a mapping with another `name` than the one in `base` replaces it
    whole, because the old component's fields mean nothing to the new one.
    """
    result = deepcopy(dict(base))
    for key, value in changes.items():
        old = result.get(key)
        inner = [
            component
            for model in models
            if key in model.model_fields
            for component in component_models(model.model_fields[key].annotation)
        ]
        is_other = isinstance(value, Mapping) and len(inner) > 1 and "name" in value
        if (
            isinstance(value, Mapping)
            and isinstance(old, Mapping)
            and not (is_other and value["name"] != old.get("name"))
        ):
            result[key] = merged(old, value, *inner)
        else:
            result[key] = deepcopy(value)
    return result


def differences(base: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted path → value, wherever `config` differs from `base`, which has the same keys; see `with_differences`.

    What is a mapping in both, but with other keys, is another component, and differs as a whole.
    """
    found: dict[str, Any] = {}
    for key, value in config.items():
        old = base[key]
        if isinstance(value, Mapping) and isinstance(old, Mapping) and _same_component(value, old):
            found |= {f"{key}.{path}": inner for path, inner in differences(old, value).items()}
        elif value != old:
            found[key] = value
    return found


def _same_component(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    # A plain mapping of names that hold dots, such as targets' weights, has no paths inside.
    return one.keys() == other.keys() and not any("." in key for key in one)


def with_differences(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of `base` with the values of `differences` put in."""
    config = deepcopy(dict(base))
    for path, value in changes.items():
        set_at(config, path, deepcopy(value))
    return config


def component_models(annotation: Any) -> list[type[BaseModel]]:
    """The configs that a field's type admits: one for a component, several for a choice, none for a plain value."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if isinstance(annotation, types.GenericAlias):  # list[str], dict[...]: a plain value
        return []
    return [model for argument in get_args(annotation) for model in component_models(argument)]


def field_paths(config: type[BaseModel], prefix: str = "") -> list[str]:
    """Every dotted path that a config has, components and their fields."""
    paths: dict[str, None] = {}
    for name, info in config.model_fields.items():
        path = f"{prefix}{name}"
        paths[path] = None
        for model in component_models(info.annotation):
            paths.update(dict.fromkeys(field_paths(model, f"{path}.")))
    return list(paths)


def nearest(word: str, choices: list[str], shown: list[str] | None = None) -> str:
    """A sentence that names what `word` may have meant, or every choice (the `shown` ones) where nothing is near."""
    likeness = {choice: _likeness(word, choice) for choice in choices}
    least = max(_NEAR, max(likeness.values(), default=0.0) - _AS_NEAR)
    near = sorted((choice for choice in likeness if likeness[choice] >= least), key=lambda choice: -likeness[choice])
    if near:
        return f"Did you mean {' or '.join(near[:3])}?"
    return f"The choices are {', '.join(shown or choices)}."


def _likeness(word: str, choice: str) -> float:
    """How alike two paths are, from 0 to 1: as a whole, and in their last parts, for `lr` may mean `optimizer.lr`.
    Whether letters are capitals does not count.

    What begins a field beside it (`swa.start` and `swa.start_frac`) means that one as surely as if it were spelt out.
    """
    word, choice = word.lower(), choice.lower()
    (parent, _, last), (other_parent, _, other_last) = word.rpartition("."), choice.rpartition(".")
    whole = SequenceMatcher(None, word, choice).ratio()
    is_begun = parent != "" and parent == other_parent and len(last) >= _BEGINNING and other_last.startswith(last)
    return (whole + (1.0 if is_begun else SequenceMatcher(None, last, other_last).ratio())) / 2
