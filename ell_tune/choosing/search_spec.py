"""A space file: what is tuned, on which data, how it is searched, what is fixed, searched and tried first.

    trainable: trainables.regressor
    data: {targets: [grammar, syntax]}      # see `ell_tune.essays.data.DataConfig`
    study: {seed: 42, num_folds: 5}         # see `StudyConfig`
    tracking: off                           # or {name: wandb}
    base: {training.num_epochs: 2}          # fixed fields of the trainable's Config, nested or dotted
    search: {optimizer.lr: {log: [1e-5, 1e-4]}}     # see `ell_tune.spaces.space`
    enqueue: [{optimizer.lr: 2e-5}]         # configs to run first, after the base config itself

A key may be dotted everywhere.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from ell_tune.choosing.asha import AshaConfig
from ell_tune.choosing.constraints import ConstraintsConfig
from ell_tune.choosing.samplers import CmaEsConfig, GpConfig, SamplerConfig, TpeConfig, sampled_cost
from ell_tune.choosing.schedulers import SchedulerConfig
from ell_tune.choosing.telling import StoppedAs
from ell_tune.config import ConfigT, InvalidConfig, StrictConfig, or_off, validate
from ell_tune.dotted import field_paths, flatten, merged, nearest
from ell_tune.errors import UserError
from ell_tune.essays.data import DataConfig
from ell_tune.spaces.domain_clauses import ClauseError, check_forms, is_under, parse_domains, with_defaults
from ell_tune.spaces.space import FixedFieldDiffers, OutsideDomain, Space
from ell_tune.spaces.space_document import SpaceDocument
from ell_tune.spaces.yaml_source import YamlPath, YamlSource, load_yaml
from ell_tune.tracking import TrackingConfig
from ell_tune.trainable import Trainable, load_trainable, measured


class StudyConfig(StrictConfig):
    """How a search goes about its work."""

    seed: int = Field(42, ge=0, le=2**31 - 1, description="seed of the folds, the sampler and every trial")
    num_folds: int = Field(5, ge=2, le=50, description="folds that the essays are split into")
    fold: int = Field(0, ge=0, description="the fold that trials are scored on; they train on the others")
    sampler: SamplerConfig = Field(TpeConfig(), description="who suggests configs")
    scheduler: or_off(SchedulerConfig) = Field(AshaConfig(), description="early stopping, or off")  # type: ignore[valid-type]
    stopped_as: StoppedAs | None = Field(
        None,
        description="how a trial stopped early is told to the sampler; default: extrapolated to gp and cma_es, which "
        "learn nothing from pruned trials, and pruned to the others",
    )
    constraints: ConstraintsConfig = Field(ConstraintsConfig(), description="limits that a config must keep")
    artifacts: str | None = Field(
        None, description="folder or s3:// URI that every node can write, for checkpoints; default: inside the study"
    )

    @property
    def tells_stopped_as(self) -> StoppedAs:
        """`stopped_as`, or its default for the sampler."""
        learns_from_complete_alone = isinstance(self.sampler, (GpConfig, CmaEsConfig))
        return self.stopped_as or ("extrapolated" if learns_from_complete_alone else "pruned")


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


def load_search_spec(path: Path, settings: Sequence[str] = ()) -> SearchSpec:
    """Reads a space file and lays `--set PATH=VALUE` settings over it.

    A setting of a searched path fixes it: it is not searched then, and enqueued configs have it too.

    Raises:
        UserError: an unknown section or field, a value or bound outside its legal range, a path both fixed and
            searched, a first value outside its search. The message names the file's line, or the setting.
    """
    return _read(SpaceDocument(load_yaml(path, "Shipped spaces lie in search_spaces/.")), settings)


def remembered_spec(document: Mapping[str, Any], where: Path) -> SearchSpec:
    """The spec that a study remembers as `document`, in the file `where`; the configs to run first are left out."""
    return _read(SpaceDocument(YamlSource(where, {**document, "enqueue": []}, {})), ())


def _read(document: SpaceDocument, settings: Sequence[str]) -> SearchSpec:
    try:
        trainable = load_trainable(document.data["trainable"])
    except UserError as error:
        raise document.error(("trainable",), str(error)) from None
    for setting in settings:
        document.apply(
            setting, {"data": DataConfig, "study": StudyConfig, "tracking": TrackingConfig, "base": trainable.Config}
        )
    return _Reader(document, trainable).read()


class _Reader:
    """Turns a document into a `SearchSpec`, pointing at where something is wrong."""

    def __init__(self, document: SpaceDocument, trainable: Trainable) -> None:
        self._document = document
        self._trainable = trainable

    def read(self) -> SearchSpec:
        document = self._document
        study = self._checked(StudyConfig, document.mapping("study"), ("study",))
        if study.fold >= study.num_folds:
            raise document.error(
                ("study", "fold"), f"study.fold must be below study.num_folds, got {study.fold} of {study.num_folds}"
            )
        self._check_measured(study)
        tracking = None
        if isinstance(document.data.get("tracking"), Mapping):
            tracking = self._checked(TrackingConfig, document.mapping("tracking"), ("tracking",))
        space = self._space()
        return SearchSpec(
            trainable_name=document.data["trainable"],
            trainable=self._trainable,
            data=self._checked(DataConfig, document.mapping("data"), ("data",)),
            study=study,
            tracking=tracking,
            space=space,
            enqueue=self._enqueue(space),
            document=document.data,
        )

    def _check_measured(self, study: StudyConfig) -> None:
        name, measures = self._document.data["trainable"], measured(self._trainable)
        cost = sampled_cost(study.sampler)
        if cost not in (None, "seconds", *measures):  # the engine itself measures seconds
            raise self._document.error(
                ("study", "sampler", "cost"),
                f"study.sampler.cost: what nsga2 keeps low has to be measured, but {name} does not measure {cost}; "
                f"choose one of {', '.join(sorted({'seconds', *measures}))}",
            )
        for limited in study.constraints.limits:
            if limited not in measures:
                raise self._document.error(
                    ("study", "constraints", limited),
                    f"study.constraints.{limited}: a constraint needs a trainable that measures it, but {name} "
                    f"measures {', '.join(sorted(measures))} alone; leave it out, or let the trainable report it at "
                    f"its evaluations and name it in its `MEASURES`",
                )

    def _checked(self, config: type[ConfigT], values: Mapping[str, Any], yaml_path: YamlPath) -> ConfigT:
        try:
            return validate(config, values)
        except InvalidConfig as error:
            where = (*yaml_path, error.path)
            section = "".join(f"[{key}]" if isinstance(key, int) else key for key in yaml_path)
            prefix = f"{section}{'.' if error.path else ': '}"
            if section == "base" and self._document.setting(where) is not None:
                prefix = ""  # `--set` takes the paths of `base` without it
            raise self._document.error(where, f"{prefix}{error}") from None

    def _space(self) -> Space:
        fixed, clauses = self._document.mapping("base"), self._document.clauses
        for path in clauses:
            self._check_searchable(path, fixed, clauses)
        try:
            check_forms(clauses)
            return parse_domains(self._trainable.Config, self._base(fixed, clauses), clauses)
        except ClauseError as error:
            raise self._document.error(("search", *error.clause_path), str(error)) from None

    def _base(self, fixed: Mapping[str, Any], clauses: Mapping[str, Any]) -> dict[str, Any]:
        """The resolved base config; one that is legal only with what the first trial runs has the clauses' defaults."""
        for values in (fixed, with_defaults(fixed, clauses)):
            with suppress(InvalidConfig):
                return validate(self._trainable.Config, values).model_dump()
        return self._checked(self._trainable.Config, fixed, ("base",)).model_dump()  # which refuses it

    def _check_searchable(self, path: str, fixed: Mapping[str, Any], clauses: Mapping[str, Any]) -> None:
        known = field_paths(self._trainable.Config)
        if path not in known:
            raise self._document.error(
                ("search", path), f"search.{path}: there is no such field. {nearest(path, known)}"
            )
        # An empty mapping fixes nothing: `swa: {}` is SWA with its defaults, any of which may be searched.
        fixed_paths = [other for other, value in flatten(fixed) if value != {} or is_under(other, path)]
        twice = [f"base.{other}" for other in fixed_paths if is_under(other, path) or is_under(path, other)]
        twice += [f"search.{other}" for other in clauses if other != path and is_under(other, path)]
        if twice:
            raise self._document.error(
                ("search", path),
                f"a field is given once, fixed or searched, but both search.{path} and {twice[0]} set it; "
                f"remove one of them",
            )

    def _enqueue(self, space: Space) -> tuple[dict[str, Any], ...]:
        model = self._trainable.Config
        configs = [dict(space.base)]
        for index, entry in enumerate(self._document.enqueue):
            values = self._document.with_settings(merged(space.base, entry, model), space.base)
            config = self._checked(model, values, ("enqueue", index)).model_dump()
            self._check_enqueued(space, config, index)
            if config not in configs:
                configs.append(config)
        return tuple(configs)

    def _check_enqueued(self, space: Space, config: dict[str, Any], index: int) -> None:
        try:
            space.encode(config)
        except FixedFieldDiffers as error:
            raise self._document.error(
                ("enqueue", index, error.paths[0]),
                f"enqueue[{index}]: an enqueued config may set searched fields only, but it sets "
                f"{', '.join(error.paths)} to another value than base; search {error.paths[0]} (a choice will do), or "
                f"leave it out",
            ) from None
        except OutsideDomain as error:
            raise self._document.error(
                ("enqueue", index), f"enqueue[{index}]: {error}; widen the search, or change the value"
            ) from None
