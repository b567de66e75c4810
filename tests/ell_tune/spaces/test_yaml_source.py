"""YAML with lines: YAML 1.2 floats, every value once, text keys, no aliases, and errors that point at a line."""

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ell_tune.errors import UserError
from ell_tune.spaces.yaml_source import YamlPath, load_yaml, parse_yaml_value

# JSON is YAML; beyond the BMP it escapes characters in halves. A dot in a key would nest it.
_text = st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"]), max_size=10)
_keys = _text.filter(lambda text: "." not in text)
_scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _text
_values = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_keys, inner, max_size=4),
    max_leaves=12,
)


@given(_values)
def test_reads_every_json_value_as_it_is(value: object) -> None:
    read = parse_yaml_value(json.dumps(value))
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-5", 1e-5),
        ("-2E3", -2000.0),
        ("+.5e1", 5.0),
        ("1.e2", 100.0),
        ("1.5e+3", 1500.0),
        ("3", 3),
        ("0.1", 0.1),
        ("'1e-5'", "1e-5"),
        ("e5", "e5"),
        ("1e", "1e"),
        ("off", False),
        ("", None),
        ("{name: lstm, sizes: [1, 2]}", {"name": "lstm", "sizes": [1, 2]}),
    ],
)
def test_reads_numbers_as_yaml_1_2_does(text: str, value: object) -> None:
    read = parse_yaml_value(text)
    assert read == value
    assert type(read) is type(value)


def test_the_floats_leave_the_safe_loader_of_others_alone() -> None:
    assert yaml.safe_load("1e-5") == "1e-5"


_FILE = """\
# a comment
base:
  optimizer.lr: 1e-5
  optimizer:
    decay: 0.1
search:
  pooling:
    choice:
      - {name: mean}
      - name: lstm
        size: {int: [1, 2]}
"""


def test_points_at_the_line_of_a_value_or_of_its_nearest_ancestor(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(_FILE)
    source = load_yaml(path, "")
    expected: dict[YamlPath, int] = {
        ("base",): 2,
        ("base", "optimizer.lr"): 3,
        ("base", "optimizer", "lr"): 3,
        ("base", "optimizer", "decay"): 5,
        ("base", "optimizer.decay"): 5,
        ("base", "optimizer.momentum"): 4,
        ("base", "seed"): 2,
        ("search", "pooling", "choice", 0, "name"): 9,
        ("search", "pooling", "choice", 1): 10,
        ("search", "pooling", "choice", 1, "size", "int"): 11,
        ("search", "pooling", "choice", 1, "size", "step"): 11,
    }
    assert {yaml_path: source.where(yaml_path) for yaml_path in expected} == {
        yaml_path: f"{path}, line {line}" for yaml_path, line in expected.items()
    }
    assert source.where(("study",)) == str(path)
    assert source.data["base"] == {"optimizer.lr": 1e-5, "optimizer": {"decay": 0.1}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"must hold a YAML mapping \(`key: value`\), but it holds nothing\.$"),
        (b"- 1", r"but it holds a list\.$"),
        (b"a: [1", r"space.yaml, line 1: expected ',' or '\]'"),
        (b"a: 1\n\tb: 2\n", r"space.yaml, line 2: .* cannot start any token"),
        (b"a: 1\nb: 2\na: 3\n", r", line 3: a value may be given once, but a is already given on line 1; remove one"),
        (b"b:\n  a: {x: 1}\n  a: {y: 1}\n", r", line 3: .* but b\.a is already given on line 2"),
        (b"b:\n  a.x: 1\n  a: {x: 2}\n", r", line 3: .* but b\.a\.x is already given on line 2"),
        (b"b:\n  a: {x: 2}\n  a.x: 1\n", r", line 3: .* but b\.a\.x is already given on line 2"),
        (b"b:\n  a: off\n  a.x: 1\n", r", line 3: .* but b\.a is already given on line 2"),
        (b"b:\n  a.x: 1\n  a: off\n", r", line 3: .* but b\.a is already given on line 2"),
        (b"b:\n  a.x: 1\n  a: {}\n", r", line 3: .* but b\.a is already given on line 2"),
        (b"b:\n  - {x: 1, x: 2}\n", r", line 2: .* but b\.0\.x is already given on line 2"),
        (b"b:\n  off: 1\n", r", line 2: a key must be text; quote it"),
        (b"b:\n  1: 1\n", r", line 2: a key must be text"),
        (b"b:\n  [x]: 1\n", r", line 2: a key must be text"),
        (b"a: &a {x: 1}\nb:\n  <<: {y: 2}\n", r", line 3: a key must be text"),
        (b"a: &a {x: 1}\nb: *a\n", r", line 2: an alias \(\*name\) cannot be used; write its value out"),
        (b"a: &a [*a]\n", r", line 1: an alias"),
        (b"a: 1\n---\nb: 2\n", r"space.yaml, line 2: but found another document"),
        (b"a: !!python/object:os.system 1", r"line 1: could not determine a constructor for the tag"),
        (b"a: 2024-13-45\n", r"space.yaml, a value cannot be read: month must be in"),
        (b"a: \xff\n", r"a YAML file in UTF-8 is needed, but it cannot be read: 'utf-8' codec can't decode byte 0xff"),
    ],
)
def test_refuses_what_it_cannot_read_in_one_paragraph(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "space.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as refusal:
        load_yaml(path, "")
    assert str(refusal.value).startswith(str(path))
    assert "\n" not in str(refusal.value)


def test_refuses_a_path_that_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nope.yaml: there is no such YAML file. Others lie there.$"):
        load_yaml(tmp_path / "nope.yaml", "Others lie there.")
    with pytest.raises(UserError, match=r"a YAML file is needed, but this is a directory\. Name the file in it\.$"):
        load_yaml(tmp_path, "")


def test_reads_a_file_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_bytes(b"\xef\xbb\xbfname: \xc3\xa9t\xc3\xa9\n")
    assert load_yaml(path, "").data == {"name": "été"}


@pytest.mark.parametrize("text", ["[1", "{a: 1, a: 2}", "*a", "a: b: c"])
def test_a_value_that_is_no_yaml_raises(text: str) -> None:
    with pytest.raises(yaml.YAMLError):
        parse_yaml_value(text)
