"""Mixout: its expectation, its exactness when scoring, where it acts, and what a fit leaves."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from fits import assert_resumes_at_every_evaluation, run
from torch import nn

from ell_tune.errors import BadConfig
from ell_tune.trainable import FoldData
from trainables.regressor import Config, predict
from trainables.regressor.encoder.mixout import MixoutConfig, MixoutLinear, add_mixout

MakeConfig = Callable[..., Config]
MakeFoldData = Callable[..., FoldData]
MakeCheckpoints = Callable[..., Any]


def make_layer(p: float) -> tuple[MixoutLinear, nn.Linear]:
    """A layer that has moved from its pretrained weights by 1, and a plain one with the same parameters."""
    torch.manual_seed(0)
    plain = nn.Linear(4, 3)
    layer = MixoutLinear(plain, p)
    with torch.no_grad():
        plain.weight.add_(1.0)
    return layer, plain


def test_a_weight_is_the_pretrained_one_or_as_far_beyond_as_keeps_the_mean() -> None:
    layer, plain = make_layer(p=0.25)
    effective = torch.stack([layer(torch.eye(4)).T - plain.bias[:, None] for _ in range(4000)]).detach()
    moved = effective - (plain.weight - 1.0)
    # Off by 0 from the pretrained weight with probability p, else by 1 / (1 - p) of the way.
    values, counts = moved.mul(1e4).round().div(1e4).unique(return_counts=True)
    assert values.tolist() == pytest.approx([0.0, 1 / 0.75], abs=1e-3)
    assert (counts / counts.sum()).tolist() == pytest.approx([0.25, 0.75], abs=0.01)
    torch.testing.assert_close(effective.mean(dim=0), plain.weight.detach(), atol=0.06, rtol=0)


def test_scoring_is_exactly_that_of_a_plain_layer() -> None:
    layer, plain = make_layer(p=0.9)
    inputs = torch.randn(5, 4)
    assert torch.equal(layer.eval()(inputs), plain(inputs))
    assert not torch.equal(layer.train()(inputs), plain(inputs))


def test_gradients_of_weights_that_are_kept_are_larger_and_of_others_zero() -> None:
    layer, _ = make_layer(p=0.5)
    layer(torch.ones(1, 4)).sum().backward()
    assert layer.weight.grad is not None
    assert set(layer.weight.grad.flatten().tolist()) == {0.0, 2.0}


def test_saved_weights_load_into_a_plain_layer() -> None:
    layer, plain = make_layer(p=0.5)
    assert list(layer.state_dict()) == ["weight", "bias"]
    other = nn.Linear(4, 3)
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other.weight, plain.weight)


def test_making_one_draws_no_random_numbers() -> None:
    plain = nn.Linear(4, 3, bias=False)
    before = torch.get_rng_state()
    assert MixoutLinear(plain, 0.5).bias is None
    assert torch.equal(torch.get_rng_state(), before)


def test_a_copy_shares_the_pretrained_weights() -> None:
    layer, _ = make_layer(p=0.5)
    other = copy.deepcopy(layer)
    assert other.weight is not layer.weight
    assert other._pretrained.value is layer._pretrained.value


def test_only_pretrained_linear_layers_are_mixed() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.LayerNorm(2), nn.Linear(2, 2)), nn.Embedding(3, 2))
    add_mixout(model, MixoutConfig(), {p for p in model.parameters() if p is not model.get_parameter("0.weight")})
    mixed = [name for name, module in model.named_modules() if isinstance(module, MixoutLinear)]
    assert mixed == ["1.1"]


@pytest.mark.parametrize("sections", [{}, {"reinit": {"num_layers": 1}, "ema": {}, "soup": {}}], ids=["plain", "rich"])
def test_a_fit_with_mixout_leaves_plain_weights(
    make_config: MakeConfig,
    make_fold_data: MakeFoldData,
    make_checkpoints: MakeCheckpoints,
    essays: list[str],
    sections: dict[str, Any],
) -> None:
    config = make_config(mixout={"p": 0.5}, **sections)
    fold_data = make_fold_data(config)
    curve, result = run(config, fold_data, make_checkpoints())
    assert result is not None
    np.testing.assert_allclose(predict(result.weights_dir, essays[30:]), result.oof_MC, atol=1e-5)
    plain_curve, _ = run(make_config(**sections), fold_data, make_checkpoints("plain"))
    # The first step starts from the pretrained weights, which mixed with themselves are the same.
    assert curve[0].metrics["train_loss"] != plain_curve[0].metrics["train_loss"]
    assert curve[0].metrics["train_loss"] == pytest.approx(plain_curve[0].metrics["train_loss"], rel=0.2)


def test_a_resumed_fit_mixes_as_if_never_stopped(
    make_config: MakeConfig, make_fold_data: MakeFoldData, make_checkpoints: MakeCheckpoints
) -> None:
    config = make_config(
        mixout={"p": 0.5}, backbone={"gradient_checkpointing": True}, prior_decay={"strength": 1.0}, swa={}
    )
    assert_resumes_at_every_evaluation(config, make_fold_data(config), make_checkpoints)


@pytest.mark.parametrize("name", ["mixout", "prior_decay"])
def test_with_nothing_pretrained_to_train_it_would_do_nothing(
    make_config: MakeConfig, make_fold_data: MakeFoldData, make_checkpoints: MakeCheckpoints, name: str
) -> None:
    config = make_config(
        freeze={"embeddings": True, "num_layers": 1}, reinit={"num_layers": 1, "what": "linear"}, **{name: {}}
    )
    with pytest.raises(
        BadConfig, match=f"{name}: .* pretrained and trained on .*leave none in any encoder. .*set {name} to off"
    ):
        run(config, make_fold_data(config), make_checkpoints())
