from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_study import study, trial

from analysis.fields import Field, differences, flatten, searched_fields, short_labels, show

names = st.text("abc[]_", min_size=1, max_size=4)
configs = st.recursive(
    st.none() | st.booleans() | st.integers() | names,
    lambda children: st.dictionaries(names, children, min_size=1, max_size=3),
    max_leaves=10,
)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "off"),
        (True, "true"),
        (False, "false"),
        (2e-5, "2e-05"),
        (0.123456789, "0.12346"),
        (8, "8"),
        ("mse", "mse"),
        ({"start_frac": 0.75, "averaged": None}, "{start_frac: 0.75, averaged: off}"),
        ([1, True], "[1, true]"),
        ((0.5, "a"), "[0.5, a]"),
    ],
)
def test_show(value: Any, shown: str) -> None:
    assert show(value) == shown


def test_flatten_keeps_lists_and_empty_mappings_as_values() -> None:
    nested = {"a": {"b": 1, "c": {"d": [1, {"e": 2}]}}, "f": {}, "g": None}
    assert flatten(nested) == {"a.b": 1, "a.c.d": [1, {"e": 2}], "f": {}, "g": None}


def test_differences_name_changed_added_and_removed_paths() -> None:
    base = {"lr": 2e-5, "swa": None, "loss": {"name": "mse"}}
    config = {"lr": 1e-5, "swa": {"frac": 0.7}, "loss": {"name": "mse"}}
    assert differences(config, base) == {
        "lr": ("2e-05", "1e-05"),
        "swa": ("off", "–"),
        "swa.frac": ("–", "0.7"),
    }


@given(st.dictionaries(names, configs, max_size=3))
def test_a_config_does_not_differ_from_itself(config: dict[str, Any]) -> None:
    assert differences(config, config) == {}


def test_short_labels_are_the_shortest_ends_that_tell_paths_apart() -> None:
    paths = ["optimizer.lr", "swa.lr", "pooling[lstm].hidden_size", "loss.name", "seed", "a.b.seed"]
    assert short_labels(paths) == {
        "optimizer.lr": "optimizer.lr",
        "swa.lr": "swa.lr",
        "pooling[lstm].hidden_size": "hidden_size",
        "loss.name": "loss.name",
        "seed": "seed",
        "a.b.seed": "b.seed",
    }


@given(st.sets(st.lists(names, min_size=1, max_size=4).map(".".join), max_size=8))
def test_short_labels_are_distinct_ends_of_their_paths(paths: set[str]) -> None:
    labels = short_labels(paths)
    assert len(set(labels.values())) == len(paths)
    assert all(path == label or path.endswith(f".{label}") for path, label in labels.items())


def field(*values: Any) -> Field:
    return Field("a.b", "b", dict(enumerate(values)))


def test_a_conditional_field_has_only_the_trials_to_which_it_applies() -> None:
    record = study(trial(0, params={"a": 1}), trial(1, params={"a": 2, "b": 3}), searched=("a", "b"))
    assert [f.values for f in searched_fields(record)] == [{0: 1, 1: 2}, {1: 3}]


@pytest.mark.parametrize(
    ("values", "is_continuous"),
    [
        ((1e-5, 2e-5, 3e-5), True),
        ((1, 2.5), True),
        ((128, 256, 128, 256), False),  # a choice of numbers
        ((True, False), False),
        ((None, 0.9), False),
        (("a", "b"), False),
        ((0.9,), False),
        ((), False),
    ],
)
def test_continuous_fields(values: tuple[Any, ...], is_continuous: bool) -> None:
    assert field(*values).is_continuous is is_continuous


@pytest.mark.parametrize(
    ("values", "is_log"),
    [((1e-5, 2e-4), True), ((1e-5, 1.9e-4), False), ((0, 1e-3), False), (("a", "b"), False)],
)
def test_log_axis_from_a_ratio_of_twenty(values: tuple[Any, ...], is_log: bool) -> None:
    assert field(*values).is_log is is_log


def test_categories_are_numbers_in_order_then_names() -> None:
    mixed = field("mse", 16, None, 4, 16, True)
    assert mixed.categories == ["4", "16", "mse", "off", "true"]
    assert [mixed.position(number) for number in range(6)] == [2, 1, 3, 0, 1, 4]


def test_the_position_of_a_continuous_value_is_the_value() -> None:
    assert field(1e-5, 2e-5).position(1) == 2e-5
