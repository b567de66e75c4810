"""A YAML file that remembers on which line each of its values stands, so that an error can point there.

A key may be dotted: `optimizer.lr: 1` says the same as `optimizer: {lr: 1}`.
"""

import re
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
    lines: dict[YamlPath, int]  # 1-based; in a path, a dotted key is as many keys as it has parts

    def where(self, yaml_path: YamlPath) -> str:
        """`FILE, line N`, of the value or of its nearest ancestor that is written in the file."""
        keys = split_keys(yaml_path)
        while keys and keys not in self.lines:
            keys = keys[:-1]
        return f"{self.path}, line {self.lines[keys]}" if keys else str(self.path)


def split_keys(yaml_path: YamlPath) -> YamlPath:
    """The path with every dotted key taken apart."""
    return tuple(part for key in yaml_path for part in (key.split(".") if isinstance(key, str) else [key]))


class _Loader(yaml.SafeLoader):
    """The safe loader, with YAML 1.2 floats (PyYAML reads `1e-5` as text) and without aliases.

    An alias may hold itself, or grow a small file into gigabytes; a space has no use for one.
    """

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise _error_at(self.peek_event().start_mark, "an alias (*name) cannot be used; write its value out")
        return super().compose_node(parent, index)


_Loader.yaml_implicit_resolvers = {
    first: list(resolvers) for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def parse_yaml_value(text: str) -> Any:
    """Reads one YAML value. Raises `yaml.YAMLError`."""
    return _parse(text)[0]


def parse_setting(setting: str) -> tuple[str, Any]:
    """The path and the value of a `--set PATH=VALUE`.

    Raises:
        UserError: it has no such form, or its value is no YAML.
    """
    path, equals, text = setting.partition("=")
    if not equals or not all(path.strip().split(".")):
        raise UserError(f"--set takes PATH=VALUE, for example --set training.num_epochs=2, but got {setting!r}.")
    try:
        return path.strip(), parse_yaml_value(text)
    except yaml.YAMLError as error:
        problem = error.problem if isinstance(error, yaml.MarkedYAMLError) else str(error)
        raise UserError(
            f"--set {setting}: the part after '=' must be a YAML value, but {text!r} is none: {problem}."
        ) from None


def load_yaml(path: Path, others: str) -> YamlSource:
    """Reads a YAML file that holds one mapping.

    Args:
        others: what to tell a user who names a file that is not there: where such files come from.

    Raises:
        UserError: no such file, not UTF-8, not YAML, not a mapping with text keys, or a key that stands twice.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such YAML file. {others}") from None
    except IsADirectoryError:
        raise UserError(f"{path}: a YAML file is needed, but this is a directory. Name the file in it.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: a YAML file in UTF-8 is needed, but it cannot be read: {error}.") from None
    try:
        data, lines = _parse(text)
    except yaml.YAMLError as error:
        raise UserError(f"{path}, {_in_one_line(error)}. Correct the YAML there.") from None
    if not isinstance(data, dict):
        found = "nothing" if data is None else f"a {type(data).__name__}"
        raise UserError(f"{path}: the file must hold a YAML mapping (`key: value`), but it holds {found}.")
    return YamlSource(path, data, lines)


def _parse(text: str) -> tuple[Any, dict[YamlPath, int]]:
    loader = _Loader(text)
    lines = _Lines()
    try:
        node = loader.get_single_node()
        if node is None:
            return None, lines.of
        lines.collect(node, ())
        return loader.construct_document(node), lines.of
    except ValueError as error:  # out of a constructor: 2024-13-45 looks like a date
        raise yaml.YAMLError(f"a value cannot be read: {error}") from None
    finally:
        loader.dispose()


class _Lines:
    """The lines of all values, each of which may be given once, be it under nested or under dotted keys."""

    def __init__(self) -> None:
        self.of: dict[YamlPath, int] = {}
        self._leaves: set[YamlPath] = set()

    def collect(self, node: yaml.Node, path: YamlPath) -> None:
        if isinstance(node, yaml.MappingNode):
            keys_here: set[str] = set()
            for key_node, value_node in node.value:
                if key_node.tag != "tag:yaml.org,2002:str":
                    raise _error_at(key_node.start_mark, "a key must be text; quote it if it is meant as text")
                self._enter(key_node, value_node, path, is_repeated=key_node.value in keys_here)
                keys_here.add(key_node.value)
        elif isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                self.of[(*path, index)] = item.start_mark.line + 1
                self.collect(item, (*path, index))

    def _enter(self, key_node: yaml.ScalarNode, value_node: yaml.Node, path: YamlPath, is_repeated: bool) -> None:
        parts = key_node.value.split(".")
        child, parents = (*path, *parts), [(*path, *parts[:end]) for end in range(1, len(parts))]
        is_leaf = not (isinstance(value_node, yaml.MappingNode) and value_node.value)
        earlier = next((parent for parent in parents if parent in self._leaves), child)
        if is_repeated or earlier in self._leaves or (is_leaf and earlier in self.of):
            raise _error_at(
                key_node.start_mark,
                f"a value may be given once, but {'.'.join(map(str, earlier))} is already given on line "
                f"{self.of[earlier]}; remove one of them",
            )
        line = key_node.start_mark.line + 1
        for parent in parents:
            self.of.setdefault(parent, line)
        self.of[child] = line
        if is_leaf:
            self._leaves.add(child)
        self.collect(value_node, child)


def _error_at(mark: Any, problem: str) -> yaml.YAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


def _in_one_line(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}: {error.problem}"
    return " ".join(str(error).split())
