"""Strict configs: the base class of every `Config`, the type helpers that YAML files need, and clear errors."""

import operator
from functools import reduce
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from ell_tune.dotted import component_models, field_paths, nearest


class StrictConfig(BaseModel):
    """A frozen pydantic model that refuses unknown keys and wrong types.

    Every field carries its type, default, legal range (`Field(ge=, le=)`) and one-line meaning
    (`Field(description=)`); this is the only place where a hyperparameter is declared.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, validate_default=True)


def one_of(*configs: type[StrictConfig]) -> Any:
    """The type of a field that takes one of several component configs, told apart by their `name`."""
    return Annotated[reduce(operator.or_, configs), Field(discriminator="name")]


def _off_to_none(value: Any) -> Any:
    # YAML 1.1 reads a bare `off` as False.
    return None if value is False or value == "off" else value


def or_off(config: Any) -> Any:
    """The type of a field that is a component's config, or `off` (None)."""
    return Annotated[config | None, BeforeValidator(_off_to_none)]


def validate(config: type[StrictConfig], values: Any) -> StrictConfig:
    """`values` as a `config`.

    Raises:
        InvalidConfig: an unknown field, a wrong type, a value outside its legal range, or fields that do not go
            together.
    """
    try:
        return config.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        path = _dotted(config, first["loc"], keep_last=first["type"] == "extra_forbidden")
        raise InvalidConfig(path, _reason(config, path, first), error.error_count()) from None


class InvalidConfig(ValueError):
    """The first thing wrong with a config: the dotted path, and why."""

    def __init__(self, path: str, reason: str, num_errors: int) -> None:
        self.path = path
        more = f" ({num_errors - 1} more errors follow)" if num_errors > 1 else ""
        super().__init__(f"{path + ': ' if path else ''}{reason}{more}")


def _dotted(config: type[StrictConfig], loc: tuple[int | str, ...], keep_last: bool) -> str:
    """pydantic's location without the tags that it adds for the members of a choice."""
    models: list[type[BaseModel]] = [config]
    parts: list[str] = []
    for index, part in enumerate(loc):
        owners = [model for model in models if part in model.model_fields]
        if owners:
            models = [
                inner for owner in owners for inner in component_models(owner.model_fields[str(part)].annotation)
            ]
            parts.append(str(part))
        elif isinstance(part, int) or (keep_last and index == len(loc) - 1):
            parts.append(str(part))
    return ".".join(parts)


def _reason(config: type[StrictConfig], path: str, error: ErrorDetails) -> str:
    found = error["input"]
    match error["type"]:
        case "extra_forbidden":
            parent = path.rpartition(".")[0]
            siblings = [p for p in field_paths(config) if p.rpartition(".")[0] == parent] or field_paths(config)
            return f"there is no such field. {nearest(path, siblings)}"
        case "missing":
            return "this field must be given, but it is missing."
        case "value_error":
            return f"{error['ctx']['error']}."
        case "union_tag_invalid":
            return f"`name` must be one of {error['ctx']['expected_tags']}, got {error['ctx']['tag']!r}."
        case "union_tag_not_found":
            return f"a mapping with a `name` is needed (`{{name: ...}}`), got {found!r}."
        case _:
            rule = error["msg"][0].lower() + error["msg"][1:]
            return f"{rule}, got {found!r}."
