"""A YAML file that remembers on which line each of its values stands, so that an error can point there."""

import re
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ell_tune.errors import UserError

YamlPath = tuple[str | int, ...]


@dataclass(frozen=True)
class YamlSource:
    """A parsed YAML mapping and where its values stand."""

    path: Path
    data: dict[str, Any]
    lines: dict[YamlPath, int]  # 1-based

    def where(self, yaml_path: YamlPath) -> str:
        """`FILE, line N`, of the value or of its nearest ancestor that is written in the file."""
        while yaml_path and yaml_path not in self.lines:
            yaml_path = yaml_path[:-1]
        line = self.lines.get(yaml_path)
        return str(self.path) if line is None else f"{self.path}, line {line}"


class _Loader(yaml.SafeLoader):
    """The safe loader, with YAML 1.2 floats (PyYAML reads `1e-5` as text) and no duplicate keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands twice in one mapping", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


_Loader.yaml_implicit_resolvers = {
    first: list(resolvers) for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def parse_yaml_value(text: str) -> Any:
    """Reads one YAML value, as `--set PATH=VALUE` takes it. Raises `yaml.YAMLError`."""
    return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader


def load_yaml(path: Path) -> YamlSource:
    """Reads a YAML file that holds one mapping.

    Raises:
        UserError: no such file, not UTF-8, not YAML, or not a mapping with text keys.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such YAML file. Shipped spaces lie in search_spaces/.") from None
    except (IsADirectoryError, UnicodeDecodeError, PermissionError) as error:
        raise UserError(f"{path}: a YAML file in UTF-8 is needed, but it cannot be read: {error}.") from None
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        data = None if node is None else loader.construct_document(node)
    except yaml.YAMLError as error:
        raise UserError(f"{path}: this is not valid YAML: {_in_one_line(error)}.") from None
    finally:
        loader.dispose()
    if not isinstance(data, dict):
        found = "nothing" if data is None else f"a {type(data).__name__}"
        raise UserError(f"{path}: the file must hold a YAML mapping (`key: value`), but it holds {found}.")
    lines: dict[YamlPath, int] = {}
    _collect_lines(node, (), lines)
    return YamlSource(path, data, lines)


def _in_one_line(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}, {error.problem}"
    return " ".join(str(error).split())


def _collect_lines(node: yaml.Node, path: YamlPath, lines: dict[YamlPath, int]) -> None:
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        for key_node, value_node in node.value:
            child = (*path, str(key_node.value))
            lines[child] = key_node.start_mark.line + 1
            _collect_lines(value_node, child, lines)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _collect_lines(item, (*path, index), lines)
