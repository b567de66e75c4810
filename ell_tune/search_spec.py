"""A space file: what is tuned, on which data, how it is searched, what is fixed, searched and tried first.

    trainable: trainables.regressor
    data: {targets: [grammar, syntax]}      # see `ell_tune.data.DataConfig`
    study: {seed: 42, num_folds: 5}         # see `StudyConfig`
    tracking: off                           # or {name: wandb}
    base: {training.num_epochs: 2}          # fixed fields of the trainable's Config, nested or dotted
    search: {optimizer.lr: {log: [1e-5, 1e-4]}}     # see `ell_tune.space`
    enqueue: [{optimizer.lr: 2e-5}]         # configs to run first, after the base config itself
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import Field

from ell_tune.asha import AshaConfig
from ell_tune.config import InvalidConfig, StrictConfig, one_of, or_off, validate
from ell_tune.data import DataConfig
from ell_tune.domain_clauses import ClauseError, is_under, parse_domains
from ell_tune.dotted import expand, field_paths, flatten, merged, nearest, set_at
from ell_tune.errors import UserError
from ell_tune.samplers import RandomConfig, TpeConfig
from ell_tune.space import OutsideDomain, Space
from ell_tune.tracking import TrackingConfig
from ell_tune.trainable import Trainable, load_trainable
from ell_tune.yaml_source import YamlPath, YamlSource, load_yaml, parse_yaml_value


ConfigT = TypeVar("ConfigT", bound=StrictConfig)


class StudyConfig(StrictConfig):
    """How a search goes about its work."""

    seed: int = Field(42, ge=0, le=2**31 - 1, description="seed of the folds, the sampler and every trial")
    num_folds: int = Field(5, ge=2, le=50, description="folds that the essays are split into")
    fold: int = Field(0, ge=0, description="the fold that trials are scored on; they train on the others")
    sampler: one_of(TpeConfig, RandomConfig) = Field(TpeConfig(), description="who suggests configs")  # type: ignore[valid-type]
    scheduler: or_off(AshaConfig) = Field(AshaConfig(), description="early stopping, or off")  # type: ignore[valid-type]
    artifacts: str | None = Field(
        None, description="folder or s3:// URI that every node can write, for checkpoints; default: inside the study"
    )


@dataclass(frozen=True)
class SearchSpec:
    """A loaded and checked space file."""

    trainable_name: str
    trainable: Trainable
    data: DataConfig
    study: StudyConfig
    tracking: TrackingConfig | None
    space: Space
    enqueue: tuple[dict[str, Any], ...]  # whole configs; the base config is the first
    document: dict[str, Any]  # the file as plain data, after `--set`: what a study remembers


_SECTIONS = ("trainable", "data", "study", "tracking", "base", "search", "enqueue")


def load_search_spec(path: Path, settings: Sequence[str] = ()) -> SearchSpec:
    """Reads a space file and lays `--set PATH=VALUE` settings over it.

    A setting of a searched path fixes it: it is not searched then.

    Raises:
        UserError: an unknown section or field, a value or bound outside its legal range, a path both fixed and
            searched, a first value outside its search. The message names the file's line.
    """
    source = load_yaml(path)
    document = deepcopy(source.data)
    for name in document:
        if name not in _SECTIONS:
            raise UserError(f"{source.where((name,))}: there is no section {name!r}. {nearest(name, list(_SECTIONS))}")
    for setting in settings:
        _apply_setting(document, setting)
    return _Reader(source, document).read()


def _apply_setting(document: dict[str, Any], setting: str) -> None:
    path, equals, text = setting.partition("=")
    if not equals or not path.strip():
        raise UserError(f"--set takes PATH=VALUE, for example --set training.num_epochs=2, but got {setting!r}.")
    try:
        value = parse_yaml_value(text)
    except yaml.YAMLError:
        raise UserError(f"--set {setting}: the part after '=' must be a YAML value, but got {text!r}.") from None
    section, _, rest = path.strip().partition(".")
    if section in ("data", "study", "tracking") and rest:
        document[section] = merged(expand(document.get(section) or {}), expand({rest: value}))
        return
    document["base"] = merged(expand(document.get("base") or {}), expand({path.strip(): value}))
    document["search"] = {
        searched: clause
        for searched, clause in (document.get("search") or {}).items()
        if not is_under(searched, path.strip()) and not is_under(path.strip(), searched)
    }


class _Reader:
    """Turns a document into a `SearchSpec`, pointing at the source's lines where something is wrong."""

    def __init__(self, source: YamlSource, document: dict[str, Any]) -> None:
        self._source = source
        self._document = document

    def read(self) -> SearchSpec:
        name = self._document.get("trainable")
        if not isinstance(name, str):
            raise self._error(("trainable",), "a dotted module name is needed, such as trainables.regressor")
        trainable = load_trainable(name)
        study = self._section("study", StudyConfig)
        if study.fold >= study.num_folds:
            raise self._error(
                ("study", "fold"), f"study.fold must be below study.num_folds, got {study.fold} of {study.num_folds}"
            )
        space = self._space(trainable)
        tracking = self._document.get("tracking", False)
        return SearchSpec(
            trainable_name=name,
            trainable=trainable,
            data=self._section("data", DataConfig),
            study=study,
            tracking=None if tracking in (False, None, "off") else self._section("tracking", TrackingConfig),
            space=space,
            enqueue=self._enqueue(trainable, space),
            document=self._document,
        )

    def _error(self, yaml_path: YamlPath, message: str) -> UserError:
        return UserError(f"{self._source.where(yaml_path)}: {message}.")

    def _mapping(self, name: str) -> dict[str, Any]:
        value = self._document.get(name)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self._error((name,), f"`{name}:` must hold a mapping, but it holds {value!r}")
        return value

    def _section(self, name: str, config: type[ConfigT]) -> ConfigT:
        try:
            return validate(config, expand(self._mapping(name)))  # type: ignore[return-value]
        except InvalidConfig as error:
            raise self._error((name, *error.path.split(".")), f"{name}.{error}".rstrip(".")) from None

    def _space(self, trainable: Trainable) -> Space:
        fixed, clauses = expand(self._mapping("base")), self._mapping("search")
        base = self._config(trainable, fixed, ("base",))
        known = field_paths(trainable.Config)
        fixed_paths = [path for path, _ in flatten(fixed)]
        for path in clauses:
            if path not in known:
                raise self._error(("search", path), f"search.{path}: there is no such field. {nearest(path, known)}"[:-1])
            for other in [*fixed_paths, *(clause for clause in clauses if clause != path)]:
                if is_under(other, path) or (other in fixed_paths and is_under(path, other)):
                    raise self._error(
                        ("search", path),
                        f"a path is either fixed or searched, once, but search.{path} and {other} both set it; "
                        f"remove one of them",
                    )
        try:
            return parse_domains(trainable.Config, base, clauses)
        except ClauseError as error:
            raise self._error(("search", *error.clause_path), str(error)) from None

    def _config(self, trainable: Trainable, values: Mapping[str, Any], yaml_path: YamlPath) -> dict[str, Any]:
        try:
            return validate(trainable.Config, values).model_dump()
        except InvalidConfig as error:
            dotted, nested = (*yaml_path, error.path), (*yaml_path, *error.path.split("."))
            where = dotted if dotted in self._source.lines else nested
            raise self._error(where, f"{yaml_path[0]}: {error}".rstrip(".")) from None

    def _enqueue(self, trainable: Trainable, space: Space) -> tuple[dict[str, Any], ...]:
        entries = self._document.get("enqueue") or []
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise self._error(("enqueue",), "`enqueue:` must hold a list of mappings (path: value)")
        configs = [dict(space.base)]
        for index, entry in enumerate(entries):
            config = self._config(trainable, merged(space.base, expand(entry)), ("enqueue", index))
            self._check_enqueued(space, config, index)
            if config not in configs:
                configs.append(config)
        return tuple(configs)

    def _check_enqueued(self, space: Space, config: dict[str, Any], index: int) -> None:
        try:
            space.encode(config)
        except OutsideDomain as error:
            raise self._error(("enqueue", index), f"enqueue[{index}]: {error}; widen the search or change it") from None
        fixed_part, base_part = deepcopy(config), deepcopy(dict(space.base))
        for path in space.domains:
            set_at(fixed_part, path, None)
            set_at(base_part, path, None)
        base_leaves = dict(flatten(base_part))
        changed = [path for path, value in flatten(fixed_part) if base_leaves.get(path) != value]
        if changed:
            raise self._error(
                ("enqueue", index),
                f"enqueue[{index}]: an enqueued config may set searched fields only, but it sets {', '.join(changed)} "
                f"to another value than base; search {changed[0]} (a choice will do), or leave it out",
            )
