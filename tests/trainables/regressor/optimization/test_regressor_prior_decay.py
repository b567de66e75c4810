"""Weight decay towards the pretrained weights, by hand."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from fits import run
from safetensors.torch import load_file
from torch import nn

from ell_tune.trainable import FoldData
from trainables.regressor import Config
from trainables.regressor.fit.starting import start_fit
from trainables.regressor.optimization.optimizers import AdamW, make_optimizer
from trainables.regressor.optimization.prior_decay import draw_back_to_start
from trainables.regressor.optimization.schedule import set_learning_rates


def set_up(strength: float, weight_decay: float) -> tuple[dict[str, nn.Parameter], torch.optim.Optimizer]:
    """An encoder's matrix and bias at 2 and a head at 2, of which the matrix is drawn back; then all are at 4."""
    parameters = {
        "matrix": nn.Parameter(torch.full((1, 1), 2.0)),
        "bias": nn.Parameter(torch.full((1,), 2.0)),
        "head": nn.Parameter(torch.full((1, 1), 2.0)),
    }
    groups = [
        {"params": [parameters["head"]], "lr": 0.5, "weight_decay": weight_decay},
        {"params": [parameters["matrix"]], "lr": 0.5, "weight_decay": 0.0, "prior_decay": strength},
        {"params": [parameters["bias"]], "lr": 0.5, "weight_decay": 0.0},
    ]
    optimizer = make_optimizer(AdamW(), groups)
    draw_back_to_start(optimizer)
    for parameter in parameters.values():
        nn.init.constant_(parameter, 4.0)
        parameter.grad = torch.zeros_like(parameter)  # no gradient: decay alone
    return parameters, optimizer


def test_pretrained_matrices_go_back_and_a_head_goes_to_zero() -> None:
    parameters, optimizer = set_up(strength=0.1, weight_decay=0.2)
    optimizer.step()
    # The way back is 2, of which .5 · .1 is gone; the head's way to 0 is 4, of which .5 · .2 is gone.
    assert parameters["matrix"].item() == pytest.approx(4.0 - 0.05 * 2.0)
    assert parameters["head"].item() == pytest.approx(4.0 - 0.1 * 4.0)
    assert parameters["bias"].item() == 4.0
    # At the rate that the schedule gives.
    set_learning_rates(optimizer, 0.0)
    optimizer.step()
    assert parameters["matrix"].item() == pytest.approx(3.9)


def test_the_popular_form_draws_the_head_back_too() -> None:
    # Its test is on the index of the last group, against their number: with two groups, 1 == 2.
    priors, values, decays = [2.0, 2.0], [4.0, 4.0], [0.1, 0.2]
    for i in range(2):
        exclude = i == len(values)
        values[i] -= 0.5 * decays[i] * (values[i] if exclude else values[i] - priors[i])
    assert values == pytest.approx([3.9, 3.8])
    parameters, optimizer = set_up(strength=0.1, weight_decay=0.2)
    optimizer.step()
    assert [parameters["matrix"].item(), parameters["head"].item()] == pytest.approx([3.9, 3.6])


def test_it_holds_where_the_head_does_not_decay() -> None:
    parameters, optimizer = set_up(strength=0.1, weight_decay=0.0)
    optimizer.step()
    assert [parameters["matrix"].item(), parameters["head"].item()] == pytest.approx([3.9, 4.0])


def test_a_step_that_a_scaler_skips_draws_nothing_back() -> None:
    parameters, optimizer = set_up(strength=0.1, weight_decay=0.2)
    parameters["head"].grad = torch.full((1, 1), float("inf"))
    scaler = torch.amp.GradScaler("cpu")
    scaler.scale(torch.ones(()))
    scaler.step(optimizer)
    assert parameters["matrix"].item() == 4.0


@pytest.mark.parametrize("reinit", [{"num_layers": 1}, {"num_layers": 1, "what": "linear"}], ids=str)
@pytest.mark.parametrize("freeze", [{"embeddings": True}, {"num_layers": 1, "num_epochs": 1}], ids=str)
def test_the_table_says_what_the_optimiser_does(
    make_config: Callable[..., Config],
    make_fold_data: Callable[..., FoldData],
    make_checkpoints: Callable[..., Any],
    reinit: dict[str, Any],
    freeze: dict[str, Any],
) -> None:
    config = make_config(optimizer={"weight_decay": 0.02}, prior_decay={"strength": 0.05}, reinit=reinit, freeze=freeze)
    fit = start_fit(config, make_fold_data(config), make_checkpoints())
    told = {
        id(parameter): (row.weight_decay, row.prior_decay)
        for row in fit.table
        for parameter in row.parameters.values()
        if parameter.requires_grad
    }
    done = {
        id(parameter): (group["weight_decay"], group.get("prior_decay", 0.0))
        for group in fit.state.optimizer.param_groups
        for parameter in group["params"]
    }
    assert done == told
    assert set(done.values()) == {(0.02, 0.0), (0.0, 0.05), (0.0, 0.0)}


def test_a_strong_prior_keeps_the_encoder_where_it_was(
    make_config: Callable[..., Config], make_fold_data: Callable[..., FoldData], make_checkpoints: Callable[..., Any]
) -> None:
    moved = {}
    for name, prior_decay in [("free", None), ("held", {"strength": 10.0})]:
        config = make_config(optimizer={"lr": 1e-2, "weight_decay": 0.0}, prior_decay=prior_decay)
        checkpoints = make_checkpoints(name)
        run(config, make_fold_data(config), checkpoints)
        state = torch.load(checkpoints.saved[-1] / "state.pt", weights_only=True)["model"]
        pretrained = load_file(f"{config.backbone.name}/model.safetensors")
        key = "encoder.layer.0.output.dense.weight"
        moved[name] = (state[f"encoders.first.backbone.{key}"] - pretrained[key]).norm().item()
    assert moved["held"] < 0.9 * moved["free"]
