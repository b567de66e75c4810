"""What a head is drawn from, in every linear map that it has."""

import math
from typing import Any

import pytest
import torch
from heads import NORMAL_STD, build
from torch import nn

from trainables.regressor.head import Head

WIDTH, HIDDEN = 600, 200
# Deviations for a hidden map from 600 to 200 and a final one from 200 to 2, and without a hidden one from 600 to 2.
HIDDEN_STD = {
    "normal": 0.02,
    "xavier": math.sqrt(2 / (600 + 200)),
    "kaiming": math.sqrt(2 / 600),
    "orthogonal": math.sqrt(1 / 600),
    "zeros": 0.02,
}
OUTPUT_STD = {
    "normal": {600: 0.02, 200: 0.02},
    "xavier": {600: math.sqrt(2 / 602), 200: math.sqrt(2 / 202)},
    "kaiming": {600: math.sqrt(2 / 600), 200: math.sqrt(2 / 200)},
    "orthogonal": {600: math.sqrt(1 / 600), 200: math.sqrt(1 / 200)},
    "zeros": {600: 0.0, 200: 0.0},
}
FORMS: dict[str, dict[str, Any] | None] = {
    "linear": None,
    "shared": {"width": HIDDEN},
    "per_target": {"width": HIDDEN, "per_target": True},
}


def make(init: str, hidden: dict[str, Any] | None, **fields: Any) -> Head:
    return build(width=WIDTH, init=init, hidden=hidden, **fields)


def hidden_maps(head: Head) -> list[nn.Linear]:
    return [module for module in head.hidden.modules() if isinstance(module, nn.Linear)]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("init", OUTPUT_STD)
def test_distributions(init: str, form: str) -> None:
    head = make(init, FORMS[form])
    maps = hidden_maps(head)
    assert len(maps) == {"linear": 0, "shared": 1, "per_target": 2}[form]
    for layer in maps:
        assert layer.weight.shape == (HIDDEN, WIDTH)
        assert layer.weight.std().item() == pytest.approx(HIDDEN_STD[init], rel=0.02)
        assert layer.weight.mean().abs().item() < 1e-3
        assert layer.bias.eq(0).all()
    in_width = head.output.in_features
    assert in_width == (WIDTH if form == "linear" else HIDDEN)
    assert head.output.weight.std().item() == pytest.approx(OUTPUT_STD[init][in_width], rel=0.1)
    assert head.output.bias.eq(0).all()


@pytest.mark.parametrize("form", FORMS)
def test_orthogonal_rows(form: str) -> None:
    head = make("orthogonal", FORMS[form])
    for layer in [*hidden_maps(head), head.output]:
        gram = layer.weight @ layer.weight.T
        torch.testing.assert_close(gram, torch.eye(len(gram)), atol=1e-5, rtol=0)


def test_xavier_is_uniform_up_to_its_bound() -> None:
    head = make("xavier", FORMS["shared"])
    for layer, bound in ((hidden_maps(head)[0], math.sqrt(6 / 800)), (head.output, math.sqrt(6 / 202))):
        assert bound * 0.97 < layer.weight.abs().max().item() <= bound


def test_normal_and_kaiming_have_tails() -> None:
    for init in ("normal", "kaiming"):
        weight = hidden_maps(make(init, FORMS["shared"]))[0].weight
        # Of a normal distribution .27% lies beyond three deviations, of a uniform one nothing.
        assert (weight.abs() > 3 * HIDDEN_STD[init]).float().mean().item() == pytest.approx(0.0027, abs=0.0005)


def test_each_target_has_a_layer_of_its_own_from_the_start() -> None:
    first, second = hidden_maps(make("normal", FORMS["per_target"]))
    assert not torch.equal(first.weight, second.weight)


@pytest.mark.parametrize("pieces", [{"dropout": {}}, {"bounded": True}])
def test_other_pieces_draw_nothing(pieces: dict[str, Any]) -> None:
    assert torch.equal(make("normal", None, **pieces).output.weight, make("normal", None).output.weight)


def test_popular_forms_leave_maps_as_torch_made_them() -> None:
    def init_weights(module: nn.Module) -> None:  # as in the notebooks
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=NORMAL_STD)

    head = make("kaiming", FORMS["per_target"])
    before = {name: parameter.clone() for name, parameter in head.named_parameters()}
    init_weights(head)  # on the module that holds the maps, which is no Linear: a no-op
    init_weights(head.hidden)
    for child in head.children():  # one level down: the final map alone
        init_weights(child)
    changed = {name for name, parameter in head.named_parameters() if not torch.equal(parameter, before[name])}
    assert changed == {"output.weight"}
    ours = make("normal", FORMS["per_target"])
    matrices = {name: parameter for name, parameter in ours.named_parameters() if parameter.ndim == 2}
    assert matrices.keys() == {"hidden.maps.0.weight", "hidden.maps.1.weight", "output.weight"}
    for name, weight in matrices.items():
        assert weight.std().item() == pytest.approx(NORMAL_STD, rel=0.1), name
