"""A space file as plain data: its sections, nested, with `--set PATH=VALUE` settings laid over them."""

from collections.abc import Mapping
from contextlib import suppress
from copy import deepcopy
from typing import Any

from pydantic import BaseModel

from ell_tune.dotted import expand, field_paths, get_at, merged, nearest, set_at
from ell_tune.errors import UserError
from ell_tune.spaces.domain_clauses import is_under
from ell_tune.spaces.yaml_source import YamlPath, YamlSource, parse_setting, split_keys

_SECTIONS = ("trainable", "data", "study", "tracking", "base", "search", "enqueue")


class SpaceDocument:
    """The sections of a space file. Points at the line, or at the setting, that a value comes from.

    Raises:
        UserError: no YAML, an unknown section, a section of the wrong kind, or no trainable.
    """

    def __init__(self, source: YamlSource) -> None:
        self._source = source
        self._settings: dict[YamlPath, str] = {}
        self._pinned: list[str] = []  # paths of the trainable's Config that settings fix
        self.data = deepcopy(self._source.data)
        for name, value in self.data.items():
            if name not in _SECTIONS:
                raise self.error((name,), f"there is no section {name!r}. {nearest(name, list(_SECTIONS))}")
            self._check_kind(name, value)
        if "trainable" not in self.data:
            raise self.error(
                (), "a section `trainable: NAME` (such as trainables.regressor) is needed, but there is none"
            )

    def mapping(self, name: str) -> dict[str, Any]:
        """A section that holds a mapping, its dotted keys nested; an empty one where it is left out or off."""
        value = self.data.get(name)
        return expand(value) if isinstance(value, Mapping) else {}

    @property
    def clauses(self) -> dict[str, Any]:
        """The section `search`: dotted path → clause."""
        return self.data.get("search") or {}

    @property
    def enqueue(self) -> list[dict[str, Any]]:
        """The configs to run first, their dotted keys nested."""
        return [expand(entry) for entry in self.data.get("enqueue") or []]

    def error(self, yaml_path: YamlPath, message: str) -> UserError:
        """What is wrong with the value at a path, and where that value stands."""
        setting = self.setting(yaml_path)
        where = self._source.where(yaml_path) if setting is None else f"{self._source.path} with --set {setting}"
        return UserError(f"{where}: {message}{'' if message.endswith(('.', '?')) else '.'}")

    def setting(self, yaml_path: YamlPath) -> str | None:
        """The setting that the value at a path, or a value inside it, comes from; None for one of the file."""
        keys = split_keys(yaml_path)
        found = None
        for path, setting in self._settings.items():
            is_inside = len(keys) > 1 and path[: len(keys)] == keys
            if is_inside or keys[: len(path)] == path:
                found = setting
        return found

    def apply(self, setting: str, models: Mapping[str, type[BaseModel]]) -> None:
        """Lays a setting, `PATH=VALUE`, over the section that its path begins with, or over `base`.

        A setting of a searched path, or of one around or inside it, ends that search.

        Args:
            models: the config of every section that can be set, `base` among them.

        Raises:
            UserError: no PATH=VALUE, or no such path; or a section would be of the wrong kind.
        """
        path, value = parse_setting(setting)
        _check_path(path.removeprefix("base."), setting, models)
        section, _, rest = path.partition(".")
        if section == "base" or section not in models:
            section, rest = "base", path.removeprefix("base.")
            self._pin(rest)
        self._settings[split_keys((section, rest) if rest else (section,))] = setting
        if rest:
            self.data[section] = merged(self.mapping(section), expand({rest: value}), models[section])
        else:
            self._check_kind(section, value)
            self.data[section] = value

    def _pin(self, path: str) -> None:
        ended = [searched for searched in self.clauses if is_under(searched, path) or is_under(path, searched)]
        self._pinned += [searched if is_under(path, searched) else path for searched in ended] or [path]
        if ended:
            self.data["search"] = {
                searched: clause for searched, clause in self.clauses.items() if searched not in ended
            }

    def with_settings(self, config: dict[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
        """A config with everything that settings fix as it is in the resolved `base`."""
        config = deepcopy(config)
        for path in self._pinned:
            with suppress(KeyError):  # a later setting has put another component there
                set_at(config, path, deepcopy(get_at(base, path)))
        return config

    def _check_kind(self, name: str, value: Any) -> None:
        needed = _needed(name, value)
        if needed is not None:
            raise self.error((name,), f"{name}: {needed} is needed, got {value!r}")


def _needed(section: str, value: Any) -> str | None:
    """What a section should hold, if it holds something else."""
    match section:
        case "trainable":
            is_right, needed = isinstance(value, str), "the dotted name of a module, such as trainables.regressor,"
        case "enqueue":
            is_list = isinstance(value, list) and all(isinstance(entry, Mapping) for entry in value)
            is_right, needed = value is None or is_list, "a list of mappings (`- {path: value}`)"
        case "tracking":
            is_right, needed = value in (None, False, "off") or isinstance(value, Mapping), "`off` or `{name: wandb}`"
        case _:
            is_right, needed = value is None or isinstance(value, Mapping), "a mapping (`path: value`)"
    return None if is_right else needed


def _check_path(path: str, setting: str, models: Mapping[str, type[BaseModel]]) -> None:
    """Refuses a path that leads nowhere, as the user typed it and with the nearest that could be typed."""
    known = field_paths(models["base"])
    for section, model in models.items():
        if section != "base":
            known += [section, *field_paths(model, f"{section}.")]
    ancestor = path
    while ancestor and ancestor not in known:
        ancestor = ancestor.rpartition(".")[0]
    children = [other for other in known if other.rpartition(".")[0] == ancestor]
    if ancestor != path and children:  # without children it is a plain value, which may be a mapping of any keys
        raise UserError(f"--set {setting}: there is no field {path}. {nearest(path, known, children)}")
