"""Dotted paths: into nested mappings, over the fields of a `Config`, and merging by them."""

from copy import deepcopy
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from ell_tune.config import StrictConfig, one_of, or_off
from ell_tune.dotted import (
    component_models,
    differences,
    expand,
    field_paths,
    flatten,
    get_at,
    merged,
    nearest,
    set_at,
    with_differences,
)

_keys = st.text("abc", min_size=1, max_size=2)
_nested = st.dictionaries(
    _keys,
    st.recursive(
        st.integers() | st.none(), lambda inner: st.dictionaries(_keys, inner, min_size=1, max_size=3), max_leaves=8
    ),
    max_size=4,
)


@given(_nested)
def test_expanding_the_flat_leaves_gives_the_nested_mapping_back(nested: dict[str, Any]) -> None:
    flat = dict(flatten(nested))
    assert expand(flat) == nested
    assert expand(nested) == nested
    assert all(get_at(nested, path) == leaf for path, leaf in flat.items())


@given(_nested, st.lists(_keys, min_size=1, max_size=3), st.integers())
def test_what_is_set_is_found_and_all_else_stays(nested: dict[str, Any], keys: list[str], value: int) -> None:
    path, before = ".".join(keys), dict(flatten(nested))
    set_at(nested, path, value)
    assert get_at(nested, path) == value
    beside = {p: v for p, v in before.items() if not f"{path}.".startswith(f"{p}.") and not p.startswith(f"{path}.")}
    assert {p: v for p, v in flatten(nested) if p != path} == beside


@given(_nested, _nested)
def test_merging_keeps_what_changes_do_not_name_and_touches_neither(base: dict[str, Any], new: dict[str, Any]) -> None:
    base_before, new_before = deepcopy(base), deepcopy(new)
    result = merged(base, new)
    assert (base, new) == (base_before, new_before)
    assert merged(base, {}) == base
    assert merged({}, new) == new
    assert merged(result, new) == result
    assert all(get_at(result, path) == leaf for path, leaf in flatten(new))
    assert {key: value for key, value in result.items() if key not in new} == {
        key: value for key, value in base.items() if key not in new
    }


# What a field of a config may hold: a plain value, a list, a component of two kinds, or a mapping whose keys hold dots.
_plain = st.integers(0, 2) | st.none() | st.booleans() | st.lists(st.integers(0, 1), max_size=2)
_weights = st.dictionaries(st.sampled_from(["grammar", "v1.5", "a.b", "a"]), st.integers(0, 2), max_size=3)


def _config(depth: int) -> st.SearchStrategy[dict[str, Any]]:
    inner = _plain | _weights if depth == 0 else _plain | _weights | _config(depth - 1) | _other(depth - 1)
    return st.fixed_dictionaries({"name": st.just("one"), "lr": inner, "pooling": inner})


def _other(depth: int) -> st.SearchStrategy[dict[str, Any]]:
    inner = _plain | _weights if depth == 0 else _plain | _config(depth - 1)
    return st.fixed_dictionaries({"name": st.just("other"), "size": inner})


@given(_config(2), _config(2))
def test_a_config_is_its_base_with_its_differences(base: dict[str, Any], config: dict[str, Any]) -> None:
    before = deepcopy((base, config))
    changes = differences(base, config)
    restored = with_differences(base, changes)
    assert restored == config
    assert (base, config) == before
    assert differences(base, restored) == changes
    assert differences(config, config) == {} and with_differences(base, {}) == base


@given(_config(2), _config(2))
def test_differences_are_values_of_the_config_that_the_base_has_not(base: dict[str, Any], new: dict[str, Any]) -> None:
    for path, value in differences(base, new).items():
        assert get_at(new, path) == value
        assert get_at(base, path) != value


@given(_config(1), _config(1))
def test_what_is_put_in_is_a_copy(base: dict[str, Any], config: dict[str, Any]) -> None:
    changes = differences(base, config)
    before = deepcopy(changes)
    restored = with_differences(base, changes)
    for value in restored.values():
        if isinstance(value, dict):
            value["name"] = "changed"
    assert changes == before


def test_a_component_of_another_kind_differs_as_a_whole() -> None:
    base = {"pooling": {"name": "mean"}, "swa": None, "optimizer": {"lr": 1, "eps": 2}}
    config = {"pooling": {"name": "lstm", "size": 8}, "swa": {"frac": 0.5}, "optimizer": {"lr": 3, "eps": 2}}
    assert differences(base, config) == {
        "pooling": {"name": "lstm", "size": 8},
        "swa": {"frac": 0.5},
        "optimizer.lr": 3,
    }
    assert differences(config, base) == {"pooling": {"name": "mean"}, "swa": None, "optimizer.lr": 1}


def test_a_plain_mapping_whose_keys_hold_dots_differs_as_a_whole() -> None:
    base = {"loss": {"weights": {"v1.5": 1, "v2": 1}}}
    config = {"loss": {"weights": {"v1.5": 1, "v2": 2}}}
    assert differences(base, config) == {"loss.weights": {"v1.5": 1, "v2": 2}}
    assert with_differences(base, differences(base, config)) == config


def test_expand_mixes_nested_and_dotted_keys() -> None:
    mapping = {"a.b": 1, "a": {"c.d": 2, "e": {}}, "f": [{"g.h": 3}]}
    assert expand(mapping) == {"a": {"b": 1, "c": {"d": 2}, "e": {}}, "f": [{"g.h": 3}]}


@pytest.mark.parametrize("path", ["x", "a.x", "a.b.c", "f.0"])
def test_a_path_that_leads_nowhere_is_a_key_error(path: str) -> None:
    with pytest.raises(KeyError):
        get_at({"a": {"b": 1}, "f": [1]}, path)


class Mean(StrictConfig):
    name: Literal["mean"] = "mean"


class Lstm(StrictConfig):
    name: Literal["lstm"] = "lstm"
    size: int = 128
    layers: int = 1


class Backbone(StrictConfig):
    name: str = "deberta"
    dropout: float = 0.0


class Model(StrictConfig):
    backbone: Backbone = Backbone()
    pooling: one_of(Mean, Lstm) = Mean()  # type: ignore[valid-type]
    extra: or_off(one_of(Mean, Lstm)) = None  # type: ignore[valid-type]
    targets: list[str] = Field(default=["grammar"])
    rate: Annotated[float, Field(gt=0)] = 1.0


def test_lists_every_path_of_a_config_once() -> None:
    pooling = ["name", "size", "layers"]
    assert field_paths(Model) == [
        "backbone",
        "backbone.name",
        "backbone.dropout",
        "pooling",
        *(f"pooling.{name}" for name in pooling),
        "extra",
        *(f"extra.{name}" for name in pooling),
        "targets",
        "rate",
    ]


def test_tells_components_from_plain_values() -> None:
    found = {name: component_models(info.annotation) for name, info in Model.model_fields.items()}
    both = [Mean, Lstm]
    assert found == {"backbone": [Backbone], "pooling": both, "extra": both, "targets": [], "rate": []}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"size": 64}, {"name": "lstm", "size": 64, "layers": 2}),
        ({"name": "lstm", "size": 64}, {"name": "lstm", "size": 64, "layers": 2}),
        ({"name": "mean"}, {"name": "mean"}),
    ],
)
def test_another_component_of_a_choice_replaces_the_old_one_whole(changes: Any, expected: Any) -> None:
    for field in ("pooling", "extra"):
        base = {field: {"name": "lstm", "size": 32, "layers": 2}, "rate": 2.0}
        assert merged(base, {field: changes}, Model) == {field: expected, "rate": 2.0}


def test_a_name_that_chooses_no_component_is_a_field_like_any_other() -> None:
    base = {"backbone": {"name": "deberta", "dropout": 0.1}}
    assert merged(base, {"backbone": {"name": "roberta"}}, Model) == {"backbone": {"name": "roberta", "dropout": 0.1}}


def test_a_component_takes_the_place_of_off_and_off_of_a_component() -> None:
    assert merged({"extra": None}, {"extra": {"name": "lstm"}}, Model) == {"extra": {"name": "lstm"}}
    assert merged({"extra": {"name": "lstm"}}, {"extra": False}, Model) == {"extra": False}


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("poling", "Did you mean pooling?"),
        ("optimizer.Ir", "Did you mean optimizer.lr?"),
        ("lr", "Did you mean optimizer.lr?"),
        ("zzzzzz", "The choices are pooling, optimizer.lr, seed, training.num_epochs, tracking.name."),
        # What is alike in its section alone, or much less alike than another, is not meant.
        ("training.zzz", "The choices are pooling, optimizer.lr, seed, training.num_epochs, tracking.name."),
        ("training.num_epoch", "Did you mean training.num_epochs?"),
        ("num_epochs", "Did you mean training.num_epochs?"),
        ("tracking.nam", "Did you mean tracking.name?"),
    ],
)
def test_names_the_nearest_choice_or_all(word: str, sentence: str) -> None:
    choices = ["pooling", "optimizer.lr", "seed", "training.num_epochs", "tracking.name"]
    assert nearest(word, choices) == sentence


def test_the_beginning_of_a_field_beside_it_is_meant_before_the_same_name_elsewhere() -> None:
    choices = ["pooling.start", "swa.start_frac", "swa.lr_factor"]
    assert nearest("swa.start", choices) == "Did you mean swa.start_frac?"
    assert nearest("pooling.star", choices) == "Did you mean pooling.start?"
    assert nearest("start", choices) == "Did you mean pooling.start?"


def test_capitals_make_no_difference() -> None:
    assert nearest("optimizer.LR", ["optimizer.lr", "seed"]) == "Did you mean optimizer.lr?"


def test_names_the_nearest_first_and_at_most_three() -> None:
    choices = [f"{section}.num_layers" for section in ("second.backbone", "backbone", "freeze", "reinit")]
    sentence = "Did you mean freeze.num_layers or reinit.num_layers or backbone.num_layers?"
    assert nearest("num_layers", choices) == sentence
    assert nearest("backbone.num_layer", choices) == "Did you mean backbone.num_layers?"
