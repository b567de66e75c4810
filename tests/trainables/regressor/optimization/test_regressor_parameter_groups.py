"""The one table of parameters: rates, weight decay and freezing, against tables by hand."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModel

from trainables.regressor import Config
from trainables.regressor.encoder.pooled_encoder import PooledEncoder
from trainables.regressor.head import HeadConfig
from trainables.regressor.losses import Loss
from trainables.regressor.model import Regressor
from trainables.regressor.optimization.optimizers import make_optimizer
from trainables.regressor.optimization.parameter_groups import (
    ParameterRow,
    freeze_parameters,
    optimizer_groups,
    parameter_table,
)
from trainables.regressor.pooling.base import Sizes
from trainables.regressor.pooling.tokens import GemPooling

MakeModel = Callable[..., Regressor]
FAMILIES: dict[str, dict[str, Any]] = {
    "bert": {},
    "roberta": {},
    "electra": {"embedding_size": 8},  # and so has a projection
    "mpnet": {},
    "longformer": {"attention_window": 4},
    "deberta": {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "max_relative_positions": 8},
    "deberta-v2": {
        "relative_attention": True,
        "pos_att_type": ["c2p", "p2c"],
        "position_buckets": 4,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "conv_kernel_size": 3,
    },
}
# What serves all layers and is not in the family's `embeddings`.
SHARED = {
    "electra": {"embeddings_project.weight", "embeddings_project.bias"},
    "mpnet": {"encoder.relative_attention_bias.weight"},
    "deberta": {"encoder.rel_embeddings.weight"},
    "deberta-v2": {"encoder.rel_embeddings.weight", "encoder.LayerNorm.weight", "encoder.LayerNorm.bias"},
}


def table_of(model: Regressor, **sections: Any) -> list[ParameterRow]:
    config = Config.model_validate(sections)
    return parameter_table(model, Loss(config.loss, ("a", "b"), (1.0, 5.0)), config)


def make_family(family: str) -> Regressor:
    sizes = {"vocab_size": 30, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    architecture = AutoConfig.for_model(family, **sizes, intermediate_size=32, **FAMILIES[family])
    with torch.device("meta"):
        backbone = AutoModel.from_config(architecture)
        pooling = GemPooling(GemPooling.Config(), Sizes(16, 2, num_targets=2))
        return Regressor({"first": PooledEncoder(backbone, pooling)}, HeadConfig(), torch.zeros(2), (1.0, 5.0))


@pytest.mark.parametrize(
    ("optimizer", "layer_2", "layer_1", "embeddings"),
    [
        ({}, 1e-3, 1e-3, 1e-3),
        ({"layer_rates": {"name": "decay", "decay": 0.5}}, 1e-3, 5e-4, 2.5e-4),
        ({"layer_rates": {"name": "grouped", "num_groups": 2, "ratio": 10.0}}, 1e-3, 1e-4, 1e-4),
        ({"layer_rates": {"name": "endpoint", "bottom_frac": 0.01}}, 1e-3, 1e-4, 1e-5),
        # FB3's 1st: three rates only, of head, encoder and embeddings.
        ({"embeddings_lr": 8e-6}, 1e-3, 1e-3, 8e-6),
        ({"embeddings_lr": 8e-6, "layer_rates": {"name": "decay", "decay": 0.5}}, 1e-3, 5e-4, 8e-6),
    ],
    ids=str,
)
def test_the_table_by_hand(
    make_model: MakeModel, optimizer: dict[str, Any], layer_2: float, layer_1: float, embeddings: float
) -> None:
    table = table_of(make_model(), optimizer={"lr": 1e-3, "head_lr": 5e-3, **optimizer})
    assert [(row.part, row.lr, row.weight_decay, row.frozen_epochs) for row in table] == [
        ("head", 5e-3, 0.01, 0.0),
        ("head", 5e-3, 0.0, 0.0),
        ("layer 2", pytest.approx(layer_2), 0.01, 0.0),
        ("layer 2", pytest.approx(layer_2), 0.0, 0.0),
        ("layer 1", pytest.approx(layer_1), 0.01, 0.0),
        ("layer 1", pytest.approx(layer_1), 0.0, 0.0),
        ("embeddings", pytest.approx(embeddings), 0.01, 0.0),
        ("embeddings", pytest.approx(embeddings), 0.0, 0.0),
    ]


@pytest.mark.parametrize("loss", [{}, {"uncertainty": {"lr": 2e-2}}], ids=str)
@pytest.mark.parametrize("name", ["mean", "attention", "gem", "weighted_layers", "lstm"])
def test_every_parameter_is_in_one_row(make_model: MakeModel, name: str, loss: dict[str, Any]) -> None:
    pooling = {"name": name, "num_layers": 2} if name == "weighted_layers" else {"name": name}
    model = make_model(pooling=pooling)
    config = Config.model_validate({"loss": loss})
    criterion = Loss(config.loss, ("a", "b"), (1.0, 5.0))
    table = parameter_table(model, criterion, config)
    everything = [*model.parameters(), *criterion.parameters()]
    grouped = [parameter for group in optimizer_groups(table) for parameter in group["params"]]
    assert sorted(map(id, grouped)) == sorted(map(id, everything))
    last = table[-1]
    if loss:
        assert (last.part, last.lr, last.weight_decay, last.frozen_epochs) == ("loss", 2e-2, 0.0, 0.0)
        assert list(last.parameters) == ["log_variance_C"]
    else:
        assert last.part == "embeddings"


@pytest.mark.parametrize("family", FAMILIES)
def test_every_familys_parameters_are_in_the_row_of_their_part(family: str) -> None:
    model = make_family(family)
    found: dict[str, set[str]] = {}
    for row in table_of(model):
        assert not found.get(row.part, set()) & row.parameters.keys()
        found.setdefault(row.part, set()).update(row.parameters)
    names = {name for name, _ in model.named_parameters()}
    first_layer = {
        name
        for name in names
        if name.startswith(("encoders.first.backbone.encoder.layer.0.", "encoders.first.backbone.encoder.conv."))
    }
    second_layer = {name for name in names if name.startswith("encoders.first.backbone.encoder.layer.1.")}
    shared = {f"encoders.first.backbone.{name}" for name in SHARED.get(family, set())}
    pooler = {name for name in names if name.startswith("encoders.first.backbone.pooler.")}
    assert len(second_layer) > 10 and shared <= names
    assert found["layer 1"] == first_layer
    assert found["layer 2"] == second_layer
    assert (
        found["embeddings"]
        == {name for name in names if name.startswith("encoders.first.backbone.embeddings.")} | shared | pooler
    )
    assert found["head"] == {
        "encoders.first.pooling.p",
        "norms.first.weight",
        "norms.first.bias",
        "head.output.weight",
        "head.output.bias",
    }


@pytest.mark.parametrize("family", FAMILIES)
def test_biases_and_norms_do_not_decay_whatever_their_family_calls_them(family: str) -> None:
    model = make_family(family)
    no_decay = {"encoders.first.pooling.p"} | {
        f"{module_name}.{name}"
        for module_name, module in model.named_modules()
        for name, _ in module.named_parameters(recurse=False)
        if "LayerNorm" in type(module).__name__ or name.endswith("bias") and not isinstance(module, nn.Embedding)
    }
    found = {name for row in table_of(model) if row.weight_decay == 0 for name in row.parameters}
    assert found == no_decay
    # By name, as BERT's first code had it, every LayerNorm's weight would decay.
    by_old_names = {
        name for name, _ in model.named_parameters() if any(part in name for part in ("gamma", "beta", "bias"))
    }
    assert "encoders.first.backbone.encoder.layer.0.output.LayerNorm.weight" in found - by_old_names


def test_embeddings_decay(make_model: MakeModel) -> None:
    decaying = {name for row in table_of(make_model()) if row.weight_decay > 0 for name in row.parameters}
    assert {
        "encoders.first.backbone.embeddings.word_embeddings.weight",
        "encoders.first.backbone.encoder.rel_embeddings.weight",
    } <= decaying


@pytest.mark.parametrize(
    ("freeze", "expected"),
    [
        ({}, {"embeddings": 0, "layer 1": 0, "layer 2": 0}),
        ({"num_epochs": 3}, {"embeddings": 0, "layer 1": 0, "layer 2": 0}),
        ({"embeddings": True}, {"embeddings": math.inf, "layer 1": 0, "layer 2": 0}),
        ({"num_layers": 1}, {"embeddings": 0, "layer 1": math.inf, "layer 2": 0}),
        ({"num_layers": 1, "num_epochs": 3}, {"embeddings": 0, "layer 1": 3, "layer 2": 0}),
        ({"encoder": True}, {"embeddings": math.inf, "layer 1": math.inf, "layer 2": math.inf}),
        ({"encoder": True, "num_epochs": 1}, {"embeddings": 1, "layer 1": 1, "layer 2": 1}),
    ],
    ids=str,
)
def test_frozen_epochs_by_hand(make_model: MakeModel, freeze: dict[str, Any], expected: dict[str, float]) -> None:
    model = make_model()
    table = table_of(model, freeze=freeze)
    assert {row.part: row.frozen_epochs for row in table} == {"head": 0, **expected}
    for epoch in (2, 0, 1):  # whatever was before
        freeze_parameters(table, epoch)
        for row in table:
            trained = {parameter.requires_grad for parameter in row.parameters.values()}
            assert trained == {epoch >= row.frozen_epochs}
        assert not freeze_parameters(table, epoch)
    # What is frozen for some epochs is in the optimizer from the start.
    assert len(optimizer_groups(table)) == sum(row.frozen_epochs < math.inf for row in table)


def test_the_optimizer_has_each_rows_rate_and_decay(make_config: Callable[..., Config], make_model: MakeModel) -> None:
    config = make_config(optimizer={"layer_rates": {"name": "decay", "decay": 0.5}}, loss={"uncertainty": {}})
    table = parameter_table(make_model(), Loss(config.loss, ("a", "b"), (1.0, 5.0)), config)
    optimizer = make_optimizer(config.optimizer.algorithm, optimizer_groups(table))
    assert [(g["lr"], g["initial_lr"], g["weight_decay"], g["eps"]) for g in optimizer.param_groups] == [
        (row.lr, row.lr, row.weight_decay, 1e-6) for row in table
    ]
