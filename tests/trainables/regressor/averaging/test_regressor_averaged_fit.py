"""Every way to average, in a whole fit: it disturbs no training, counts only where it is better, and survives."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from fits import assert_resumes_at_every_evaluation, run

from ell_tune.trainable import FoldData
from trainables.regressor import Config, predict

MakeConfig = Callable[..., Config]
MakeFoldData = Callable[..., FoldData]
MakeCheckpoints = Callable[..., Any]

AVERAGES: dict[str, dict[str, Any]] = {
    "swa": {"swa": {"start_frac": 0.5}},
    "ema": {"ema": {"decay": 0.6}},
    "soup": {"soup": {"num_checkpoints": 2}},
    "greedy": {"soup": {"num_checkpoints": 3, "method": "greedy"}},
    "all": {"swa": {"start_frac": 0.4, "lr_factor": 0.5}, "ema": {"decay": 0.9, "start_frac": 0.3}, "soup": {}},
}
# Where averages beat the weights that they are made of: at a high rate.
HIGH_RATE = {"optimizer": {"lr": 3e-3, "head_lr": 1e-1}, "schedule": {"curve": {"name": "constant"}}}


@pytest.mark.parametrize("name", ["swa", "ema", "soup", "greedy"])
def test_averaging_does_not_disturb_the_training(
    make_config: MakeConfig, make_fold_data: MakeFoldData, make_checkpoints: MakeCheckpoints, name: str
) -> None:
    without, averaging = make_config(**HIGH_RATE), make_config(**HIGH_RATE, **AVERAGES[name])
    fold_data = make_fold_data(without)
    plain_curve, _ = run(without, fold_data, make_checkpoints("without"))
    curve, result = run(averaging, fold_data, make_checkpoints("averaging"))
    assert [p.metrics["score_raw"] for p in curve] == [p.score for p in plain_curve]
    for progress in curve:
        scores = [value for key, value in progress.metrics.items() if key.startswith("score_")]
        assert progress.score == min(scores)
    assert result is not None
    assert result.score == min(progress.score for progress in curve)


def test_every_average_is_scored_from_its_start(
    make_config: MakeConfig, make_fold_data: MakeFoldData, make_checkpoints: MakeCheckpoints
) -> None:
    config = make_config(swa={"start_frac": 0.7}, ema={"start_frac": 0.3}, soup={})
    curve, _ = run(config, make_fold_data(config), make_checkpoints())
    scored = [{key for key in p.metrics if key.startswith("score_")} for p in curve]
    # Eight steps and four evaluations: EMA begins with the fourth step, SWA with the seventh.
    assert scored == [
        {"score_raw"},
        {"score_raw", "score_ema", "score_soup"},
        {"score_raw", "score_ema", "score_soup"},
        {"score_raw", "score_ema", "score_soup", "score_swa"},
    ]


def test_averages_hold_every_steps_weights_the_last_ones_included(
    make_config: MakeConfig, make_fold_data: MakeFoldData, make_checkpoints: MakeCheckpoints
) -> None:
    # An evaluation, and so a checkpoint, after each of eight steps: the averages by hand from what those hold.
    config = make_config(
        **HIGH_RATE, swa={"start_frac": 0.5}, ema={"decay": 0.6, "start_frac": 0.5}, training={"evaluations": 8}
    )
    checkpoints = make_checkpoints()
    run(config, make_fold_data(config), checkpoints)
    states = [torch.load(folder / "state.pt", weights_only=True) for folder in checkpoints.saved]
    name = "head.output.weight"
    values = [state["model"][name] for state in states[4:]]
    exponential = values[0]
    for value in values[1:]:
        exponential = 0.6 * exponential + 0.4 * value
    averages = states[-1]["averages"]
    assert {key: average["num_averaged"] for key, average in averages.items()} == {"swa": 4, "ema": 4}
    torch.testing.assert_close(averages["swa"]["model"][name], torch.stack(values).mean(dim=0))
    torch.testing.assert_close(averages["ema"]["model"][name], exponential)
    assert (values[-1] - values[-2]).abs().max() > 1e-2  # the last step can be seen


@pytest.mark.parametrize("name", ["swa", "ema", "soup"])
def test_an_average_that_is_best_is_what_predicts(
    make_config: MakeConfig,
    make_fold_data: MakeFoldData,
    make_checkpoints: MakeCheckpoints,
    essays: list[str],
    name: str,
) -> None:
    training = {"num_epochs": 4, "batch_size": 4, "evaluations": 8}
    config = make_config(**HIGH_RATE, **AVERAGES[name], training=training)
    curve, result = run(config, make_fold_data(config, seed=5), make_checkpoints())
    assert result is not None
    best = min(curve, key=lambda progress: progress.score)
    assert best.score == best.metrics[f"score_{name}"] < best.metrics["score_raw"]
    np.testing.assert_allclose(predict(result.weights_dir, essays[30:]), result.oof_MC, atol=1e-5)
    assert {path.name for path in result.weights_dir.iterdir() if path.is_dir()} == {"first"}  # the soup is gone


@pytest.mark.parametrize("name", ["greedy", "all"])
def test_a_resumed_fit_averages_as_if_never_stopped(
    make_config: MakeConfig, make_fold_data: MakeFoldData, make_checkpoints: MakeCheckpoints, name: str
) -> None:
    config = make_config(**HIGH_RATE, **AVERAGES[name], freeze={"embeddings": True})
    assert_resumes_at_every_evaluation(config, make_fold_data(config), make_checkpoints)


def test_a_fresh_fit_drops_an_older_fits_soup(
    make_config: MakeConfig, make_fold_data: MakeFoldData, make_checkpoints: MakeCheckpoints
) -> None:
    config = make_config(soup={})
    checkpoints = make_checkpoints()
    folder = checkpoints.weights_dir / "soup"
    folder.mkdir()
    (folder / "step_99.safetensors").touch()
    run(config, make_fold_data(config), checkpoints, stop_after=2)
    assert {path.name for path in folder.iterdir()} == {"step_2.safetensors", "step_4.safetensors"}
