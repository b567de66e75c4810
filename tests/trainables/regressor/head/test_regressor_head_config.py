"""The head's fields: their paths, what does not go together, and that each of them is heard."""

from typing import Any

import pytest
import torch
from heads import WIDTH, build, features_of

from ell_tune.config import InvalidConfig, validate
from ell_tune.dotted import field_paths
from trainables.regressor import Config
from trainables.regressor.head import HeadConfig


def test_every_field_has_a_path_for_a_search() -> None:
    assert [path for path in field_paths(Config) if path.startswith("head.")] == [
        "head.layer_norm",
        "head.hidden",
        "head.hidden.width",
        "head.hidden.activation",
        "head.hidden.per_target",
        "head.dropout",
        "head.dropout.p",
        "head.dropout.num_samples",
        "head.bounded",
        "head.init",
        "head.ridge_alpha",
    ]


def test_the_defaults_are_the_linear_head() -> None:
    assert HeadConfig().model_dump() == {
        "layer_norm": True,
        "hidden": None,
        "dropout": None,
        "bounded": False,
        "init": "normal",
        "ridge_alpha": None,
    }


@pytest.mark.parametrize("name", ["hidden", "dropout", "ridge_alpha"])
def test_pieces_are_switched_off_by_word(name: str) -> None:
    assert validate(HeadConfig, {name: "off"}) == validate(HeadConfig, {name: False}) == HeadConfig()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"hidden": {"width": 8}},
            "head: ridge_alpha needs a linear map straight from the features, so hidden must be off, but they are "
            "3.0 and {'width': 8, 'activation': 'gelu', 'per_target': False}.",
        ),
        (
            {"bounded": True},
            "head: ridge_alpha needs scores that are linear in the features, so bounded must be false, but they are "
            "3.0 and true.",
        ),
    ],
)
def test_a_ridge_start_needs_a_linear_head(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidConfig) as error:
        validate(Config, {"head": {"ridge_alpha": 3.0, **fields}})
    assert str(error.value) == message
    validate(Config, {"head": fields})


def test_a_ridge_start_goes_with_all_else() -> None:
    validate(HeadConfig, {"ridge_alpha": 3.0, "layer_norm": False, "dropout": {}, "init": "orthogonal"})


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("hidden.width", {"hidden": {"width": 3}}),
        ("hidden.width", {"hidden": {"width": 5000}}),
        ("hidden.activation", {"hidden": {"activation": "silu"}}),
        ("hidden.layers", {"hidden": {"layers": 2}}),
        ("dropout.p", {"dropout": {"p": 0.0}}),
        ("dropout.p", {"dropout": {"p": 1.0}}),
        ("dropout.num_samples", {"dropout": {"num_samples": 0}}),
        ("dropout.num_samples", {"dropout": {"num_samples": 17}}),
        ("bounded", {"bounded": 1}),
        ("init", {"init": "uniform"}),
    ],
)
def test_what_is_out_of_range_is_refused_by_path(path: str, fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidConfig) as error:
        validate(HeadConfig, fields)
    assert error.value.path == path


@pytest.mark.parametrize(
    ("base", "change"),
    [
        ({}, {"hidden": {}}),
        ({"hidden": {}}, {"hidden": {"width": 8}}),
        ({"hidden": {}}, {"hidden": {"activation": "relu"}}),
        ({"hidden": {}}, {"hidden": {"activation": "tanh"}}),
        ({"hidden": {}}, {"hidden": {"per_target": True}}),
        ({}, {"dropout": {}}),
        ({"dropout": {}}, {"dropout": {"p": 0.5}}),
        ({"dropout": {}}, {"dropout": {"num_samples": 2}}),
        ({}, {"bounded": True}),
        ({}, {"init": "xavier"}),
        ({}, {"init": "kaiming"}),
        ({}, {"init": "orthogonal"}),
        ({}, {"init": "zeros"}),
    ],
    ids=str,
)
def test_every_field_changes_the_scores(base: dict[str, Any], change: dict[str, Any]) -> None:
    features = features_of(4, WIDTH)
    score_BC, other_BC = build(**base)(features), build(**change)(features)
    assert not torch.equal(score_BC, other_BC)
