"""Learning rates: schedules, layer-wise decay and freezing, each against numbers by hand."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from transformers import get_scheduler

from ell_tune.errors import BadConfig
from ell_tune.trainable import FoldData
from trainables.regressor import Config
from trainables.regressor.building import build_regressor
from trainables.regressor.gradients import set_training_mode
from trainables.regressor.model import Regressor
from trainables.regressor.optimization import (
    OptimizerConfig,
    ScheduleConfig,
    learning_rate_factor,
    make_optimizer,
    set_learning_rates,
)
from trainables.regressor.parameter_groups import (
    FreezeConfig,
    ParameterRow,
    check_layers,
    freeze_parameters,
    optimizer_groups,
    parameter_table,
)

MakeModel = Callable[..., Regressor]


@pytest.fixture
def make_model(make_config: Callable[..., Config], make_fold_data: Callable[..., FoldData]) -> Callable[..., Regressor]:
    def make(**sections: object) -> Regressor:
        config = make_config(**sections)
        return build_regressor(config, make_fold_data(config).prepared, torch.zeros(2), seed=0)

    return make


@pytest.mark.parametrize(
    ("name", "warmup_frac", "expected"),
    [
        ("constant", 0.0, [1.0, 1.0, 1.0, 1.0]),
        ("constant", 0.5, [0.0, 0.5, 1.0, 1.0]),
        ("linear", 0.0, [1.0, 0.75, 0.5, 0.25]),
        ("linear", 0.5, [0.0, 0.5, 1.0, 0.5]),
        ("cosine", 0.0, [1.0, 0.853553, 0.5, 0.146447]),
        ("cosine", 0.25, [0.0, 1.0, 0.75, 0.25]),
    ],
)
def test_schedules_by_hand(name: str, warmup_frac: float, expected: list[float]) -> None:
    config = ScheduleConfig.model_validate({"name": name, "warmup_frac": warmup_frac})
    assert [learning_rate_factor(config, step, 4) for step in range(4)] == pytest.approx(expected, abs=1e-6)


@given(st.sampled_from(["constant", "linear", "cosine"]), st.floats(0.0, 0.9), st.integers(1, 60))
def test_schedules_are_those_of_transformers(name: str, warmup_frac: float, num_steps: int) -> None:
    config = ScheduleConfig.model_validate({"name": name, "warmup_frac": warmup_frac})
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = get_scheduler(
        "constant_with_warmup" if name == "constant" else name,
        optimizer,
        num_warmup_steps=-int(-warmup_frac * num_steps // 1),
        num_training_steps=num_steps,
    )
    for step in range(num_steps):
        assert learning_rate_factor(config, step, num_steps) == pytest.approx(theirs.get_last_lr()[0], abs=1e-9)
        optimizer.step()
        theirs.step()


def rows_by_part(table: list[ParameterRow]) -> dict[tuple[str, bool], ParameterRow]:
    return {(row.part, row.weight_decay > 0): row for row in table}


def test_layer_wise_decay_by_hand(make_model: MakeModel) -> None:
    optimizer = OptimizerConfig(lr=1e-3, head_lr=5e-3, layer_decay=0.5, weight_decay=0.01)
    table = parameter_table(make_model(), optimizer, FreezeConfig())
    assert [(row.part, row.lr, row.weight_decay, row.frozen) for row in table] == [
        ("head", 5e-3, 0.01, False),
        ("head", 5e-3, 0.0, False),
        ("layer 2", 1e-3, 0.01, False),
        ("layer 2", 1e-3, 0.0, False),
        ("layer 1", 5e-4, 0.01, False),
        ("layer 1", 5e-4, 0.0, False),
        ("embeddings", 2.5e-4, 0.01, False),
        ("embeddings", 2.5e-4, 0.0, False),
    ]


@pytest.mark.parametrize("name", ["mean", "attention", "gem", "weighted_layers", "lstm"])
def test_every_parameter_is_in_one_row(make_model: MakeModel, name: str) -> None:
    pooling = {"name": name, "num_layers": 2} if name == "weighted_layers" else {"name": name}
    model = make_model(pooling=pooling)
    table = parameter_table(model, OptimizerConfig(), FreezeConfig())
    names = [parameter_name for row in table for parameter_name in row.parameter_names]
    assert sorted(names) == sorted(parameter_name for parameter_name, _ in model.named_parameters())
    grouped = [parameter for group in optimizer_groups(model, table) for parameter in group["params"]]
    assert {id(parameter) for parameter in grouped} == {id(parameter) for parameter in model.parameters()}
    assert len(grouped) == len(names)


def test_norms_and_biases_do_not_decay(make_model: MakeModel) -> None:
    model = make_model(pooling={"name": "gem"})
    no_decay = {
        f"{module_name}.{name}"
        for module_name, module in model.named_modules()
        for name, _ in module.named_parameters(recurse=False)
        if isinstance(module, nn.LayerNorm) or name == "bias"
    } | {"pooling.p"}
    table = parameter_table(model, OptimizerConfig(), FreezeConfig())
    assert {name for row in table if row.weight_decay == 0 for name in row.parameter_names} == no_decay


def test_relative_positions_belong_to_the_embeddings(make_model: MakeModel) -> None:
    rows = rows_by_part(parameter_table(make_model(), OptimizerConfig(), FreezeConfig()))
    assert "backbone.encoder.rel_embeddings.weight" in rows["embeddings", True].parameter_names
    assert "backbone.encoder.LayerNorm.weight" in rows["embeddings", False].parameter_names
    assert "backbone.encoder.layer.0.output.dense.weight" in rows["layer 1", True].parameter_names
    assert "norm.weight" in rows["head", False].parameter_names


@pytest.mark.parametrize(
    ("freeze", "frozen"),
    [
        (FreezeConfig(embeddings=True), {"embeddings"}),
        (FreezeConfig(num_layers=1), {"layer 1"}),
        (FreezeConfig(embeddings=True, num_layers=2), {"embeddings", "layer 1", "layer 2"}),
    ],
)
def test_freezing(make_model: MakeModel, freeze: FreezeConfig, frozen: set[str]) -> None:
    model = make_model(backbone={"dropout": 0.1})
    table = parameter_table(model, OptimizerConfig(), freeze)
    assert {row.part for row in table if row.frozen} == frozen
    freeze_parameters(model, table)
    for row in table:
        for name in row.parameter_names:
            assert model.get_parameter(name).requires_grad == (row.part not in frozen)
    assert len(optimizer_groups(model, table)) == sum(row.part not in frozen for row in table)
    # Dropout is off in what is frozen and on in the rest.
    set_training_mode(model)
    layers = model.backbone.encoder.layer
    assert model.backbone.embeddings.dropout.training == ("embeddings" not in frozen)
    assert layers[0].output.dropout.training == ("layer 1" not in frozen)
    assert layers[1].output.dropout.training == ("layer 2" not in frozen)
    assert model.head.training


@pytest.mark.parametrize(("freeze", "reinit"), [(3, 0), (0, 3), (2, 1)])
def test_more_layers_frozen_and_reinitialised_than_there_are(freeze: int, reinit: int) -> None:
    message = f"which is 2, .* freeze.num_layers is {freeze} and reinit.num_layers is {reinit}"
    with pytest.raises(BadConfig, match=message):
        check_layers(freeze, reinit, num_layers=2)
    check_layers(1, 1, num_layers=2)


def test_rates_are_factors_of_each_groups_own(make_model: MakeModel) -> None:
    model = make_model()
    config = OptimizerConfig(lr=1e-3, head_lr=5e-3, layer_decay=0.5)
    groups = optimizer_groups(model, parameter_table(model, config, FreezeConfig()))
    optimizer = make_optimizer(config, groups)
    for factor in (0.0, 0.1, 1.0):
        set_learning_rates(optimizer, factor)
        peaks = [5e-3, 5e-3, 1e-3, 1e-3, 5e-4, 5e-4, 2.5e-4, 2.5e-4]
        assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([factor * p for p in peaks])
    assert {group["eps"] for group in optimizer.param_groups} == {1e-6}
