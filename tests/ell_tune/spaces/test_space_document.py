"""Space files as plain data: the kinds of their sections, and `--set` laid over them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_trainable import Config

from ell_tune.errors import UserError
from ell_tune.essays.data import DataConfig
from ell_tune.spaces.space_document import SpaceDocument
from ell_tune.spaces.yaml_source import load_yaml
from ell_tune.tracking import TrackingConfig

Open = Callable[[str], SpaceDocument]
MODELS = {"data": DataConfig, "tracking": TrackingConfig, "base": Config}
SPACE = """\
trainable: fake_trainable
data: {targets: [grammar]}
base:
  shape: {name: curved, power: 3.0}
  bonus.amount: 0.5
search:
  x: {float: [0, 1]}
  y: {int: [0, 5]}
enqueue:
  - {x: 0.5, bonus.amount: 0.25}
"""


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    monkeypatch.chdir(tmp_path)

    def open_document(text: str) -> SpaceDocument:
        Path("space.yaml").write_text(text)
        return SpaceDocument(load_yaml(Path("space.yaml"), ""))

    return open_document


def test_nests_dotted_keys_and_remembers_the_file_as_it_is(opened: Open) -> None:
    document = opened(SPACE)
    assert document.mapping("base") == {"shape": {"name": "curved", "power": 3.0}, "bonus": {"amount": 0.5}}
    assert document.mapping("study") == {}
    assert document.clauses == {"x": {"float": [0, 1]}, "y": {"int": [0, 5]}}
    assert document.enqueue == [{"x": 0.5, "bonus": {"amount": 0.25}}]
    assert document.data["base"] == {"shape": {"name": "curved", "power": 3.0}, "bonus.amount": 0.5}


def test_empty_sections_are_as_if_left_out(opened: Open) -> None:
    document = opened("trainable: fake_trainable\nstudy:\nbase:\nsearch:\nenqueue:\ntracking: off\n")
    assert [document.mapping(name) for name in ("study", "base", "tracking")] == [{}, {}, {}]
    assert (document.clauses, document.enqueue) == ({}, [])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seach: {}", "space.yaml, line 2: there is no section 'seach'. Did you mean search?"),
        ("base: [x]", "space.yaml, line 2: base: a mapping (`path: value`) is needed, got ['x']."),
        ("study: 3", "space.yaml, line 2: study: a mapping (`path: value`) is needed, got 3."),
        ("\nsearch: x", "space.yaml, line 3: search: a mapping (`path: value`) is needed, got 'x'."),
        (
            "enqueue: {x: 1}",
            "space.yaml, line 2: enqueue: a list of mappings (`- {path: value}`) is needed, got {'x': 1}.",
        ),
        ("enqueue: [1]", "space.yaml, line 2: enqueue: a list of mappings (`- {path: value}`) is needed, got [1]."),
        ("tracking: wandb", "space.yaml, line 2: tracking: `off` or `{name: wandb}` is needed, got 'wandb'."),
    ],
)
def test_refuses_a_section_that_is_none(opened: Open, text: str, message: str) -> None:
    with pytest.raises(UserError) as refusal:
        opened(f"trainable: fake_trainable\n{text}\n")
    assert str(refusal.value) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "base: {}",
            r"space.yaml: a section `trainable: NAME` \(such as trainables.regressor\) is needed, but there is none\.$",
        ),
        ("trainable: [x]", "space.yaml, line 1: trainable: the dotted name of a module, .* is needed, got "),
    ],
)
def test_refuses_a_file_without_a_trainable(opened: Open, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        opened(text)


@pytest.mark.parametrize(
    ("setting", "section", "expected"),
    [
        (
            "evaluations=2",
            "base",
            {"shape": {"name": "curved", "power": 3.0}, "bonus": {"amount": 0.5}, "evaluations": 2},
        ),
        (
            "base.evaluations=2",
            "base",
            {"shape": {"name": "curved", "power": 3.0}, "bonus": {"amount": 0.5}, "evaluations": 2},
        ),
        ("shape.power=1e-5", "base", {"shape": {"name": "curved", "power": 1e-5}, "bonus": {"amount": 0.5}}),
        ("shape.name=plain", "base", {"shape": {"name": "plain"}, "bonus": {"amount": 0.5}}),
        ("bonus=off", "base", {"shape": {"name": "curved", "power": 3.0}, "bonus": False}),
        ("data.min_score=0", "data", {"targets": ["grammar"], "min_score": 0}),
        ("data.targets=[a, b]", "data", {"targets": ["a", "b"]}),
        ("data={min_score: 0}", "data", {"min_score": 0}),
        ("tracking={name: wandb}", "tracking", {"name": "wandb"}),
        ("tracking.name=wandb", "tracking", {"name": "wandb"}),
    ],
)
def test_a_setting_lies_over_its_section(opened: Open, setting: str, section: str, expected: dict[str, Any]) -> None:
    document = opened(SPACE)
    document.apply(setting, MODELS)
    assert document.mapping(section) == expected
    assert document.clauses == {"x": {"float": [0, 1]}, "y": {"int": [0, 5]}}


def test_settings_lie_over_each_other_in_their_order(opened: Open) -> None:
    document = opened(SPACE)
    for setting in ("evaluations=2", "shape.name=plain", "evaluations=3", "shape={name: curved}"):
        document.apply(setting, MODELS)
    assert document.mapping("base") == {"shape": {"name": "curved"}, "bonus": {"amount": 0.5}, "evaluations": 3}


def test_tracking_can_be_set_off(opened: Open) -> None:
    document = opened(SPACE + "tracking: {name: wandb}\n")
    document.apply("tracking=off", MODELS)
    assert document.mapping("tracking") == {}


def test_a_setting_of_a_searched_path_ends_its_search(opened: Open) -> None:
    document = opened(SPACE)
    document.apply("x=0.5", MODELS)
    assert document.clauses == {"y": {"int": [0, 5]}}
    assert document.mapping("base")["x"] == 0.5


def test_settings_hold_in_other_configs_too(opened: Open) -> None:
    document = opened(SPACE)
    for setting in ("x=0.5", "bonus.amount=0.75"):
        document.apply(setting, MODELS)
    base = {"x": 0.5, "y": 1, "bonus": {"amount": 0.75, "more": 1}}
    config = {"x": 0.1, "y": 5, "bonus": {"amount": 0.1, "more": 2}}
    assert document.with_settings(config, base) == {"x": 0.5, "y": 5, "bonus": {"amount": 0.75, "more": 2}}
    assert config["x"] == 0.1


def test_points_at_the_setting_that_a_value_comes_from(opened: Open) -> None:
    document = opened(SPACE)
    document.apply("bonus.amount=2", MODELS)
    where = {
        path: str(document.error(path, "wrong"))
        for path in [("base", "bonus.amount"), ("base", "bonus"), ("base", "shape")]
    }
    assert where == {
        ("base", "bonus.amount"): "space.yaml with --set bonus.amount=2: wrong.",
        ("base", "bonus"): "space.yaml with --set bonus.amount=2: wrong.",
        ("base", "shape"): "space.yaml, line 4: wrong.",
    }


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("evaluations", "--set takes PATH=VALUE, for example --set training.num_epochs=2, but got 'evaluations'."),
        ("=2", "--set takes PATH=VALUE, for example --set training.num_epochs=2, but got '=2'."),
        ("a..b=2", "--set takes PATH=VALUE, for example --set training.num_epochs=2, but got 'a..b=2'."),
        (".a=2", "--set takes PATH=VALUE, for example --set training.num_epochs=2, but got '.a=2'."),
        (
            "x=[1",
            "--set x=[1: the part after '=' must be a YAML value, but '[1' is none: "
            "expected ',' or ']', but got '<stream end>'.",
        ),
        ("tracking=3", "space.yaml with --set tracking=3: tracking: `off` or `{name: wandb}` is needed, got 3."),
        ("data=x", "space.yaml with --set data=x: data: a mapping (`path: value`) is needed, got 'x'."),
    ],
)
def test_refuses_a_setting_that_is_none(opened: Open, setting: str, message: str) -> None:
    with pytest.raises(UserError) as refusal:
        opened(SPACE).apply(setting, MODELS)
    assert str(refusal.value) == message
