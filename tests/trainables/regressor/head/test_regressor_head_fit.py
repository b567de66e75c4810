"""Heads in whole fits: they learn, survive their folder, resume, and start from the fold's means and range."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from fits import assert_resumes_at_every_evaluation, run

from ell_tune.essays.metrics import mcrmse
from ell_tune.trainable import FoldData
from trainables.regressor import Config, predict
from trainables.regressor.building import build_regressor
from trainables.regressor.encoder.precision import Precision
from trainables.regressor.encoder.reader import EssayReader
from trainables.regressor.losses import Loss
from trainables.regressor.optimization.parameter_groups import parameter_table
from trainables.regressor.predicting import predict_rows
from trainables.regressor.table import table_of

MakeConfig = Callable[..., Config]
MakeFoldData = Callable[..., FoldData]
MakeCheckpoints = Callable[..., Any]

# Every piece at once, on features of each target's own, with a loss that scores each micro-batch twice.
RICH_HEAD: dict[str, Any] = {
    "pooling": {"name": "per_target", "num_layers": 2},
    "head": {
        "hidden": {"width": 8, "per_target": True},
        "dropout": {"p": 0.2, "num_samples": 3},
        "bounded": True,
        "init": "orthogonal",
    },
    "loss": {"criterion": {"name": "rmse"}},
    "swa": {"start_frac": 0.5},
    "training": {"micro_batch_size": 3},
}


def test_a_rich_head_resumes_and_survives_its_folder(
    make_config: MakeConfig, make_fold_data: MakeFoldData, make_checkpoints: MakeCheckpoints, essays: list[str]
) -> None:
    config = make_config(**RICH_HEAD)
    result = assert_resumes_at_every_evaluation(config, make_fold_data(config), make_checkpoints)
    np.testing.assert_allclose(predict(result.weights_dir, essays[30:]), result.oof_MC, atol=1e-5)
    assert result.oof_MC.std(axis=0).min() > 0.01  # not the means


@pytest.mark.parametrize(
    "head",
    [
        {"hidden": {"width": 16}},
        {"hidden": {"width": 8, "activation": "tanh", "per_target": True}, "init": "xavier"},
        {"hidden": {"width": 16, "activation": "relu"}, "init": "zeros"},
        {"dropout": {"p": 0.2}},
        {"bounded": True},
    ],
    ids=str,
)
def test_a_head_learns_and_survives_its_folder(
    make_config: MakeConfig,
    make_fold_data: MakeFoldData,
    make_checkpoints: MakeCheckpoints,
    essays: list[str],
    head: dict[str, Any],
) -> None:
    config = make_config(head=head, training={"num_epochs": 4})
    fold_data = make_fold_data(config)
    _, result = run(config, fold_data, make_checkpoints())
    assert result is not None
    labels_MC = fold_data.labels_NC[fold_data.valid_rows]
    constant_MC = np.broadcast_to(fold_data.labels_NC[fold_data.train_rows].mean(axis=0), labels_MC.shape)
    assert result.score < 0.9 * mcrmse(labels_MC, constant_MC)
    np.testing.assert_allclose(predict(result.weights_dir, essays[30:]), result.oof_MC, atol=1e-5)


def test_the_score_range_is_kept_with_the_weights(
    make_config: MakeConfig, make_fold_data: MakeFoldData, make_checkpoints: MakeCheckpoints, essays: list[str]
) -> None:
    config = make_config(head={"bounded": True}, optimizer={"lr": 1e-3, "head_lr": 0.1})
    fold_data = make_fold_data(config)
    fold_data = FoldData(**{**vars(fold_data), "score_range": (1.5, 3.5)})
    _, result = run(config, fold_data, make_checkpoints())
    assert result is not None
    assert json.loads((result.weights_dir / "regressor.json").read_text())["score_range"] == [1.5, 3.5]
    score_NC = predict(result.weights_dir, essays)
    assert score_NC.min() >= 1.5 and score_NC.max() <= 3.5
    assert score_NC.max() - score_NC.min() > 0.5
    np.testing.assert_allclose(score_NC[30:], result.oof_MC, atol=1e-5)


@pytest.mark.parametrize("bounded", [False, True])
def test_zeros_start_at_the_folds_means(make_config: MakeConfig, make_fold_data: MakeFoldData, bounded: bool) -> None:
    config = make_config(head={"init": "zeros", "bounded": bounded})
    fold_data = make_fold_data(config)
    means_C = fold_data.labels_NC[fold_data.train_rows].mean(axis=0)
    model = build_regressor(config, fold_data.prepared, torch.from_numpy(means_C), fold_data.score_range, seed=0)
    cpu = torch.device("cpu")
    found_MC = predict_rows(model, EssayReader(fold_data.prepared, cpu), np.arange(5), 2, Precision("fp32", cpu))
    np.testing.assert_allclose(found_MC, np.broadcast_to(means_C, (5, 2)), atol=1e-6)


@pytest.mark.parametrize("init", ["normal", "xavier", "kaiming", "orthogonal", "zeros"])
def test_the_table_has_the_head_without_weights(make_config: MakeConfig, init: str) -> None:
    config = make_config(**RICH_HEAD | {"head": RICH_HEAD["head"] | {"init": init}})
    names = [name for row in table_of(config, ("a", "b")) if row.part == "head" for name in row.parameters]
    assert [name for name in names if name.startswith("head.")] == [
        "head.hidden.maps.0.weight",
        "head.hidden.maps.1.weight",
        "head.output.weight",
        "head.hidden.maps.0.bias",
        "head.hidden.maps.1.bias",
        "head.output.bias",
    ]


def test_matrices_decay_at_the_heads_rate_and_biases_do_not(make_model: Any, make_config: MakeConfig) -> None:
    config = make_config(**RICH_HEAD, optimizer={"head_lr": 7e-3, "weight_decay": 0.02})
    table = parameter_table(make_model(**RICH_HEAD), Loss(config.loss, ("a", "b"), (1.0, 5.0)), config)
    found = {name: (row.lr, row.weight_decay) for row in table for name in row.parameters if name.startswith("head.")}
    assert set(found.values()) == {(7e-3, 0.02), (7e-3, 0.0)}
    assert {name.rpartition(".")[2]: decay for name, (_, decay) in found.items()} == {"weight": 0.02, "bias": 0.0}


def test_a_ridge_start_does_not_depend_on_dropout(
    make_config: MakeConfig, make_fold_data: MakeFoldData, make_checkpoints: MakeCheckpoints
) -> None:
    # It is solved and scored on whole features.
    slow = {"lr": 1e-7, "head_lr": 1e-7}
    scores = []
    for name, dropout in (("plain", None), ("dropped", {"p": 0.5})):
        config = make_config(head={"ridge_alpha": 1.0, "dropout": dropout}, optimizer=slow)
        curve, _ = run(config, make_fold_data(config), make_checkpoints(name))
        scores.append(curve[0].score)
    assert scores[0] == pytest.approx(scores[1], abs=1e-4)
