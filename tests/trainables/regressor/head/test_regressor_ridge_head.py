"""A head that starts as ridge regression, against scikit-learn and the normal equations."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from fits import run
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ell_tune.trainable import FoldData
from trainables.regressor import Config
from trainables.regressor.building import build_regressor
from trainables.regressor.encoder.precision import Precision
from trainables.regressor.encoder.reader import EssayReader
from trainables.regressor.fit import starting
from trainables.regressor.head.ridge_head import fit_head_by_ridge
from trainables.regressor.predicting import predict_rows

CPU = torch.device("cpu")
FP32 = Precision("fp32", CPU)


def test_each_target_is_solved_on_features_of_its_own(
    make_config: Callable[..., Config], make_fold_data: Callable[..., FoldData]
) -> None:
    config = make_config(pooling={"name": "per_target", "num_layers": 2})
    fold_data, rows = make_fold_data(config), np.arange(30)
    labels_MC = fold_data.labels_NC[rows]
    model = build_regressor(
        config, fold_data.prepared, torch.from_numpy(labels_MC.mean(axis=0)), (1.0, 5.0), seed=0
    ).eval()
    with torch.no_grad():
        model.encoders["first"].pooling.layer_logits[1][0] = 5.0  # the second target looks at another mixture of layers
    reader = EssayReader(fold_data.prepared, CPU)
    fit_head_by_ridge(model, reader, rows, labels_MC, 3.0, batch_size=7, precision=FP32)
    with torch.no_grad():
        features_MCP = model.features(reader.read(rows)).double().numpy()
    for target in range(2):
        expected_M = make_pipeline(StandardScaler(), Ridge(alpha=3.0)).fit(
            features_MCP[:, target], labels_MC[:, target]
        )
        found_M = predict_rows(model, reader, rows, 7, FP32)[:, target]
        np.testing.assert_allclose(found_M, expected_M.predict(features_MCP[:, target]), atol=1e-3)


@pytest.mark.parametrize("layer_norm", [True, False])
def test_the_head_is_the_ridge_solution(
    make_config: Callable[..., Config], make_fold_data: Callable[..., FoldData], layer_norm: bool
) -> None:
    config = make_config(head={"layer_norm": layer_norm})
    fold_data, alpha = make_fold_data(config), 3.0
    rows, labels_MC = fold_data.train_rows, fold_data.labels_NC[fold_data.train_rows]
    means_C = torch.from_numpy(labels_MC.mean(axis=0))
    model = build_regressor(config, fold_data.prepared, means_C, (1.0, 5.0), seed=0).eval()
    reader = EssayReader(fold_data.prepared, CPU)
    fit_head_by_ridge(model, reader, rows, labels_MC, alpha, batch_size=7, precision=FP32)

    with torch.no_grad():
        features_MP = model.features(reader.read(rows)).double().numpy()
    standard_MP = (features_MP - features_MP.mean(axis=0)) / features_MP.std(axis=0)
    centred_MC = labels_MC.astype(np.float64) - labels_MC.mean(axis=0)
    penalty = alpha * np.eye(standard_MP.shape[1])
    weight_PC = np.linalg.solve(standard_MP.T @ standard_MP + penalty, standard_MP.T @ centred_MC)
    expected_MC = labels_MC.mean(axis=0) + standard_MP @ weight_PC
    np.testing.assert_allclose(predict_rows(model, reader, rows, 7, FP32), expected_MC, atol=1e-3)


def test_a_fit_starts_from_it_once(
    make_config: Callable[..., Config],
    make_fold_data: Callable[..., FoldData],
    make_checkpoints: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = make_config(head={"ridge_alpha": 1.0}, optimizer={"lr": 1e-7, "head_lr": 1e-7})
    fold_data = make_fold_data(config)
    checkpoints = make_checkpoints()
    whole, result = run(config, fold_data, make_checkpoints("whole"))
    stopped, _ = run(config, fold_data, checkpoints, stop_after=2)
    monkeypatch.setattr(starting, "fit_head_by_ridge", None)  # a call would fail
    resumed, resumed_result = run(config, fold_data, checkpoints)
    assert [p.score for p in resumed] == [p.score for p in whole[1:]]
    assert result is not None and resumed_result is not None
    assert resumed_result.score == result.score
    # Ridge explains something at once, where a random head after steps of 1e-7 does not.
    monkeypatch.undo()
    random_head, _ = run(make_config(optimizer={"lr": 1e-7, "head_lr": 1e-7}), fold_data, make_checkpoints("random"))
    assert whole[0].score < 0.9 * random_head[0].score
