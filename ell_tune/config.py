"""Strict configs: the base class of every `Config`, the type helpers that YAML files need, and clear errors."""

import operator
import types
from collections.abc import Mapping
from functools import reduce
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from ell_tune.dotted import component_models, field_paths, nearest

ConfigT = TypeVar("ConfigT", bound="StrictConfig")

_KINDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    list: "a list",
    dict: "a mapping",
}
_LIMITS = {"gt": "above", "ge": "at least", "le": "at most", "lt": "below", "min_length": "of length at least"}


class StrictConfig(BaseModel):
    """A frozen pydantic model that refuses unknown keys and wrong types.

    Every field carries its type, default, legal range (`Field(ge=, le=)`) and one-line meaning
    (`Field(description=)`); this is the only place where a hyperparameter is declared.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, validate_default=True)

    @model_validator(mode="before")
    @classmethod
    def _spell_out(cls, values: Any) -> Any:
        """Lets `off` mean null, and a mapping without a `name` the field's default variant, if that has all its keys.

        `off` is what a search calls null, whatever the field.
        """
        if not isinstance(values, Mapping):
            return values
        return {
            key: _spelt_out(value, cls.model_fields[key]) if key in cls.model_fields else value
            for key, value in values.items()
        }


def _spelt_out(value: Any, info: FieldInfo) -> Any:
    kinds = get_args(info.annotation)
    if types.NoneType in kinds and not {bool, str} & set(kinds):
        value = _off_to_none(value)
    variants, default = component_models(info.annotation), type(info.default)
    is_partial = isinstance(value, Mapping) and "name" not in value
    if len(variants) > 1 and default in variants and is_partial and set(value) <= set(default.model_fields):
        return {"name": info.default.name, **value}
    return value


def one_of(*configs: type[StrictConfig]) -> Any:
    """The type of a field that takes one of several component configs, told apart by their `name`.

    Without a `name`, a mapping means the field's default variant, as long as that has all of the mapping's keys.
    """
    return Annotated[reduce(operator.or_, configs), Field(discriminator="name")]


def _off_to_none(value: Any) -> Any:
    # YAML 1.1 reads a bare `off` as False.
    return None if value is False or value == "off" else value


def or_off(config: Any) -> Any:
    """The type of a field that is a component's config, or `off` (None), and that is told so where it is wrong."""
    return Annotated[config | None, BeforeValidator(_off_to_none)]


def validate(config: type[ConfigT], values: Any) -> ConfigT:
    """`values` as a `config`.

    Raises:
        InvalidConfig: an unknown field, a wrong type, a value outside its legal range, or fields that do not go
            together.
    """
    try:
        return config.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        path, owners, info = _locate(config, first["loc"])
        cause = first.get("ctx", {}).get("error")
        at = path if not isinstance(cause, Contradiction) else ".".join(filter(None, (path, cause.path)))
        raise InvalidConfig(at, _reason(config, path, owners, info, first), error.error_count()) from None


class Contradiction(ValueError):
    """Fields that do not go together, raised by a validator of the config that holds them."""

    def __init__(self, path: str, reason: str) -> None:
        """`path` is the dotted path, from that config on, of the field that is told as wrong."""
        self.path = path
        super().__init__(reason.removesuffix("."))


class InvalidConfig(ValueError):
    """The first thing wrong with a config: the dotted path, and why."""

    def __init__(self, path: str, reason: str, num_errors: int) -> None:
        self.path = path
        more = f" (the first of {num_errors} errors)" if num_errors > 1 else ""
        super().__init__(f"{path + ': ' if path else ''}{reason}{more}")


def _locate(config: type[BaseModel], loc: tuple[int | str, ...]) -> tuple[str, list[type[BaseModel]], FieldInfo | None]:
    """pydantic's location as a dotted path, the configs that what is there belongs to, or consists of, and its field.

    After a choice of several components pydantic names the one chosen, which is no part of the path.
    """
    models: list[type[BaseModel]] = [config]
    owners = models
    parts: list[str] = []
    info = None
    for part in loc:
        if len(models) > 1:
            models = [model for model in models if part in get_args(model.model_fields["name"].annotation)]
            continue
        parts.append(str(part))
        owners = models
        info = models[0].model_fields.get(str(part)) if models else None
        models = [] if info is None else component_models(info.annotation)
    return ".".join(parts), models or owners, info


def _reason(
    config: type[BaseModel], path: str, owners: list[type[BaseModel]], info: FieldInfo | None, error: ErrorDetails
) -> str:
    found = error["input"]
    or_off = ", or off" if info is not None and _takes_off(info) else ""
    match error["type"]:
        case "extra_forbidden" if owners:
            return _no_such_field(config, path, owners)
        case "missing":
            return "this field must be given, but it is missing."
        case "value_error":
            return f"{error['ctx']['error']}."
        case "union_tag_invalid":
            return f"`name` must be one of {error['ctx']['expected_tags']}{or_off}, got {error['ctx']['tag']!r}."
        case "union_tag_not_found" | "model_attributes_type":
            names = [str(name) for owner in owners for name in get_args(owner.model_fields["name"].annotation)]
            choices = ", ".join(names) + or_off
            return f"a mapping with a `name` is needed (`{{name: ...}}`, one of {choices}), got {found!r}."
        case "model_type" if owners:
            return f"a mapping of {', '.join(owners[0].model_fields)} is needed{or_off}, got {found!r}."
        case "finite_number":
            return f"must be a finite number, got {found!r}."
        case _:
            values = "" if info is None else _in_words(info)
            rule = f"must be {values}" if values else error["msg"][0].lower() + error["msg"][1:]
            return f"{rule}, got {found!r}."


def _no_such_field(config: type[BaseModel], path: str, owners: list[type[BaseModel]]) -> str:
    parent, _, name = path.rpartition(".")
    fields = [field for owner in owners for field in owner.model_fields]
    variants = _variants_with(config, path)
    if variants and "name" in owners[0].model_fields:
        (chosen,) = get_args(owners[0].model_fields["name"].annotation)
        own = ", ".join(field for field in fields if field != "name") or "no field but its name"
        verb = "has" if len(variants) == 1 else "have"
        return f"{chosen} has no such field, but {', '.join(variants)} {verb}. What {chosen} has: {own}."
    siblings = [f"{parent}.{field}" if parent else field for field in fields]
    elsewhere = [other for other in field_paths(config) if other.endswith(f".{name}")]
    return f"there is no such field. {nearest(path, siblings + elsewhere, shown=fields)}"


def _variants_with(config: type[BaseModel], path: str) -> list[str]:
    """The names of the components, of those that may stand around `path`, that have a field there."""
    *parents, name = path.split(".")
    models: list[type[BaseModel]] = [config]
    for part in parents:
        infos = [model.model_fields[part] for model in models if part in model.model_fields]
        models = [inner for info in infos for inner in component_models(info.annotation)]
    having = [model for model in models if name in model.model_fields and "name" in model.model_fields]
    return [str(variant) for model in having for variant in get_args(model.model_fields["name"].annotation)]


def _takes_off(info: FieldInfo) -> bool:
    return any(getattr(rule, "func", None) is _off_to_none for rule in info.metadata)


def _in_words(info: FieldInfo) -> str:
    """The values that a plain field takes; empty where a type among them has no words here."""
    is_union = get_origin(info.annotation) in (Union, types.UnionType)
    kinds = get_args(info.annotation) if is_union else (info.annotation,)
    words = [_kind_in_words(kind, null="off" if _takes_off(info) else "null") for kind in reversed(kinds)]
    limits = [
        f"{word} {getattr(rule, name)}"
        for rule in info.metadata
        for name, word in _LIMITS.items()
        if hasattr(rule, name)
    ]
    if not all(words):
        return ""
    return " or ".join(words) + (f", {' and '.join(limits)}" if limits else "")


def _kind_in_words(kind: Any, null: str) -> str:
    if kind is types.NoneType:
        return null
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(map(repr, get_args(kind)))
    return _KINDS.get(get_origin(kind) or kind, "")
