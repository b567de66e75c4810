"""The whole fit on a tiny DeBERTa: curve, best weights, freezing, prediction."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from fits import RICH, run
from safetensors.torch import load_file

from ell_tune.config import validate
from ell_tune.essays.metrics import mcrmse, rmse_per_target
from ell_tune.trainable import FoldData, load_trainable
from trainables.regressor import Config, predict, predicting, training
from trainables.regressor.encoder.reader import EssayReader

MakeConfig = Callable[..., Config]
MakeFoldData = Callable[..., FoldData]
MakeCheckpoints = Callable[..., Any]


def test_the_contract_is_met() -> None:
    trainable = load_trainable("trainables.regressor")
    assert validate(trainable.Config, {}) == Config()


def test_a_fit_learns_and_reports_what_it_says(
    make_config: MakeConfig, make_fold_data: MakeFoldData, make_checkpoints: MakeCheckpoints
) -> None:
    config = make_config(optimizer={"lr": 1e-2, "head_lr": 3e-2}, training={"num_epochs": 20, "evaluations": 5})
    fold_data = make_fold_data(config)
    curve, result = run(config, fold_data, make_checkpoints())
    labels_MC = fold_data.labels_NC[fold_data.valid_rows]
    constant = mcrmse(labels_MC, np.broadcast_to(fold_data.labels_NC[:30].mean(axis=0), labels_MC.shape))
    assert result is not None
    assert result.score < 0.7 * constant
    assert result.score == min(progress.score for progress in curve)
    assert result.score == mcrmse(labels_MC, result.oof_MC)
    assert (result.oof_MC.dtype, result.oof_MC.shape) == (np.float32, (10, 2))
    assert [(progress.step, progress.num_steps) for progress in curve] == [(k, 5) for k in range(1, 6)]
    best = min(curve, key=lambda progress: progress.score)
    rmse_C = rmse_per_target(labels_MC, result.oof_MC)
    assert [best.metrics["rmse_reasons"], best.metrics["rmse_praise"]] == pytest.approx(rmse_C.tolist())
    assert curve[-1].metrics["train_loss"] < 0.7 * curve[0].metrics["train_loss"]
    # 80 steps of a cosine from 1e-2; the first evaluation follows step 16.
    assert curve[0].metrics["lr"] == pytest.approx(1e-2 * 0.5 * (1 + math.cos(math.pi * 15 / 80)))
    assert set(curve[0].metrics) == {
        *("train_loss", "tokens_per_second", "lr", "micro_batch_size", "rmse_reasons", "rmse_praise", "score_raw"),
        *("num_parameters", "seconds_per_essay"),
    }
    assert 0 < curve[0].metrics["seconds_per_essay"] < 10
    weights = load_file(result.weights_dir / "model.safetensors")
    num_means = 2  # of the targets, which are no parameters
    assert curve[0].metrics["num_parameters"] == sum(weight.numel() for weight in weights.values()) - num_means
    assert curve[0].metrics["micro_batch_size"] == config.training.batch_size


@pytest.mark.parametrize("sections", [{}, RICH], ids=["plain", "rich"])
def test_predict_gives_the_out_of_fold_predictions(
    make_config: MakeConfig,
    make_fold_data: MakeFoldData,
    make_checkpoints: MakeCheckpoints,
    essays: list[str],
    sections: dict[str, Any],
) -> None:
    config = make_config(**sections)
    fold_data = make_fold_data(config)
    _, result = run(config, fold_data, make_checkpoints())
    assert result is not None
    np.testing.assert_allclose(predict(result.weights_dir, essays[30:]), result.oof_MC, atol=1e-5)
    # In the order of the essays, whatever they are batched with.
    np.testing.assert_allclose(predict(result.weights_dir, essays[:29:-1]), result.oof_MC[::-1], atol=1e-5)
    assert predict(result.weights_dir, []).shape == (0, 2)


def test_the_folder_is_all_that_predict_needs(
    make_config: MakeConfig,
    make_fold_data: MakeFoldData,
    make_checkpoints: MakeCheckpoints,
    essays: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = make_config()
    _, result = run(config, make_fold_data(config), make_checkpoints())
    assert result is not None
    moved = result.weights_dir.rename(tmp_path / "moved")
    assert not list(moved.glob("*.tmp"))
    assert {path.name for path in moved.iterdir()} == {"model.safetensors", "regressor.json", "first"}
    assert {"config.json", "tokenizer.json"} <= {path.name for path in (moved / "first").iterdir()}

    def no_pretrained(*_: object, **__: object) -> None:
        raise AssertionError("predict loaded pretrained weights")

    monkeypatch.setattr("transformers.AutoModel.from_pretrained", no_pretrained)
    np.testing.assert_allclose(predict(moved, essays[30:]), result.oof_MC, atol=1e-5)


def test_the_weights_are_those_of_the_best_evaluation(
    make_config: MakeConfig, make_fold_data: MakeFoldData, make_checkpoints: MakeCheckpoints
) -> None:
    # At this rate the score gets worse after a while; the folder must keep the best.
    config = make_config(optimizer={"lr": 1e-2, "head_lr": 1e-1}, training={"num_epochs": 4, "evaluations": 16})
    fold_data = make_fold_data(config)
    checkpoints = make_checkpoints()
    curve, result = run(config, fold_data, checkpoints)
    scores = [progress.score for progress in curve]
    assert result is not None
    assert scores.index(min(scores)) < len(scores) - 1
    best_weights = load_file(result.weights_dir / "model.safetensors")
    at_best = torch.load(checkpoints.saved[scores.index(min(scores))] / "state.pt", weights_only=True)["model"]
    assert all(torch.equal(best_weights[name], tensor) for name, tensor in at_best.items())


def test_raw_and_averaged_weights_are_both_scored(
    make_config: MakeConfig, make_fold_data: MakeFoldData, make_checkpoints: MakeCheckpoints
) -> None:
    config = make_config(swa={"start_frac": 0.5})
    curve, _ = run(config, make_fold_data(config), make_checkpoints())
    assert ["score_swa" in progress.metrics for progress in curve] == [False, False, True, True]
    for progress in curve[2:]:
        raw, averaged = progress.metrics["score_raw"], progress.metrics["score_swa"]
        assert progress.score == min(raw, averaged)
        assert raw != averaged
    without = make_config()
    plain_curve, _ = run(without, make_fold_data(without), make_checkpoints("without"))
    # Averaging alone does not disturb the training that it averages.
    assert [p.metrics["score_raw"] for p in curve] == [p.score for p in plain_curve]


def test_frozen_parameters_stay_and_all_others_move(
    make_config: MakeConfig,
    make_fold_data: MakeFoldData,
    make_checkpoints: MakeCheckpoints,
    tiny_deberta: Path,
) -> None:
    config = make_config(freeze={"embeddings": True, "num_layers": 1}, pooling={"name": "attention"})
    fold_data = make_fold_data(config)
    checkpoints = make_checkpoints()
    _, result = run(config, fold_data, checkpoints)
    assert result is not None
    pretrained = load_file(tiny_deberta / "model.safetensors")
    trained = load_file(result.weights_dir / "model.safetensors")
    (paragraph_id,) = fold_data.prepared["first"].added_token_ids
    same = {
        name
        for name, tensor in pretrained.items()
        if torch.equal(trained[f"encoders.first.backbone.{name}"][:paragraph_id], tensor[:paragraph_id])
    }
    assert same == {name for name in pretrained if not name.startswith("encoder.layer.1.")}
    state = torch.load(checkpoints.saved[-1] / "state.pt", weights_only=True)
    assert not [name for name in state["model"] if "layer.0." in name or "embeddings" in name]


@pytest.mark.parametrize("keep_states", [True, False])
def test_the_time_to_score_an_essay_is_that_through_all_layers(
    make_config: MakeConfig,
    make_fold_data: MakeFoldData,
    make_checkpoints: MakeCheckpoints,
    monkeypatch: pytest.MonkeyPatch,
    keep_states: bool,
) -> None:
    config = make_config(freeze={"embeddings": True, "num_layers": 1, "keep_states": keep_states})
    now = 0.0

    def predict_in_time(model: Any, reader: EssayReader, rows: Any, *rest: Any) -> Any:
        nonlocal now
        now += len(rows) * (1 if reader.frozen_states else 4)
        return predicting.predict_rows(model, reader, rows, *rest)

    monkeypatch.setattr(training, "predict_rows", predict_in_time)
    monkeypatch.setattr(training, "time", SimpleNamespace(perf_counter=lambda: now))
    monkeypatch.setattr(training._Interval, "metrics", lambda interval: {})
    curve, _ = run(config, make_fold_data(config), make_checkpoints())
    assert {progress.metrics["seconds_per_essay"] for progress in curve} == {4.0}


def test_essays_from_rays_object_store_are_read_only(
    make_config: MakeConfig, make_fold_data: MakeFoldData, make_checkpoints: MakeCheckpoints
) -> None:
    config = make_config(training={"num_epochs": 1, "evaluations": 1})
    fold_data = make_fold_data(config)
    for array in (fold_data.prepared["first"].tokens, fold_data.prepared["first"].offsets, fold_data.labels_NC):
        array.setflags(write=False)
    curve, _ = run(config, fold_data, make_checkpoints())
    assert math.isfinite(curve[0].score)


def test_no_essay_text_in_what_is_kept(
    make_config: MakeConfig, make_fold_data: MakeFoldData, make_checkpoints: MakeCheckpoints
) -> None:
    config = make_config()
    _, result = run(config, make_fold_data(config), make_checkpoints())
    assert result is not None
    kept = json.loads((result.weights_dir / "regressor.json").read_text())
    assert kept == {"config": config.model_dump(mode="json"), "num_targets": 2, "score_range": [1.0, 5.0]}


@pytest.mark.parametrize(
    "pooling",
    [{"name": "lstm", "hidden_size": 8}, {"name": "weighted_layers", "num_layers": 3}, {"name": "multiscale"}],
)
def test_other_poolings_survive_the_folder(
    make_config: MakeConfig,
    make_fold_data: MakeFoldData,
    make_checkpoints: MakeCheckpoints,
    essays: list[str],
    pooling: dict[str, Any],
) -> None:
    config = make_config(pooling=pooling, head={"layer_norm": False}, text={"paragraph_token": None})
    _, result = run(config, make_fold_data(config), make_checkpoints())
    assert result is not None
    np.testing.assert_allclose(predict(result.weights_dir, essays[30:]), result.oof_MC, atol=1e-5)


def test_predicting_does_not_follow_a_gpu_only_precision_on_a_cpu(
    make_config: MakeConfig,
    make_fold_data: MakeFoldData,
    make_checkpoints: MakeCheckpoints,
    essays: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = make_config(training={"precision": "bf16"})
    fold_data = make_fold_data(config)
    _, result = run(config, fold_data, make_checkpoints())
    assert result is not None
    asked: list[str] = []
    precision = predicting.Precision

    def remember(name: Any, device: torch.device) -> predicting.Precision:
        asked.append(name)
        return precision(name, device)

    monkeypatch.setattr(predicting, "Precision", remember)
    monkeypatch.setattr(predicting, "best_device", lambda: torch.device("cpu"))
    np.testing.assert_allclose(predict(result.weights_dir, essays[30:]), result.oof_MC, atol=0.05)
    assert asked == ["fp32"]
