"""A fit depends on config, fold and seed only: not on what ran before, nor on interruptions."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fits import RICH, run, without_throughput
from safetensors.torch import load_file

from ell_tune.errors import BadConfig
from ell_tune.trainable import FoldData, Progress
from trainables.regressor import Config
from trainables.regressor.averaging.averages import WeightAverages
from trainables.regressor.building import build_regressor
from trainables.regressor.fit.fit_state import FitState
from trainables.regressor.losses import Loss

MakeConfig = Callable[..., Config]
MakeFoldData = Callable[..., FoldData]
MakeCheckpoints = Callable[..., Any]


def test_the_same_seed_gives_the_same_curve(
    make_config: MakeConfig, make_fold_data: MakeFoldData, make_checkpoints: MakeCheckpoints
) -> None:
    config = make_config(**RICH)
    curves = {}
    for drawn_before, (name, seed) in enumerate([("a", 7), ("b", 7), ("c", 8)]):
        torch.manual_seed(drawn_before)
        curve, _ = run(config, make_fold_data(config, seed), make_checkpoints(name))
        curves[name] = without_throughput(curve)
    assert curves["a"] == curves["b"]
    assert curves["a"] != curves["c"]


@pytest.mark.parametrize(("stop_after", "precision"), [(1, "fp32"), (2, "fp32"), (3, "fp32"), (4, "fp32"), (3, "fp16")])
def test_a_resumed_fit_goes_on_as_if_never_stopped(
    make_config: MakeConfig,
    make_fold_data: MakeFoldData,
    make_checkpoints: MakeCheckpoints,
    stop_after: int,
    precision: str,
) -> None:
    config = make_config(**RICH | {"training": {"micro_batch_size": 3, "precision": precision}})
    fold_data = make_fold_data(config)
    whole_curve, whole = run(config, fold_data, make_checkpoints("whole"))
    first = make_checkpoints("first")
    begun, none = run(config, fold_data, first, stop_after)
    assert none is None
    torch.manual_seed(0)
    # A new machine: only what was saved, and an empty weights folder.
    continued, result = run(config, fold_data, make_checkpoints("second", first.saved))
    assert continued[0] == begun[-1]  # once more: the process may have died before it was heard
    assert without_throughput(begun + continued[1:]) == without_throughput(whole_curve)
    assert whole is not None and result is not None
    assert result.score == whole.score
    assert np.array_equal(result.oof_MC, whole.oof_MC)
    ours, theirs = (load_file(r.weights_dir / "model.safetensors") for r in (result, whole))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_the_loss_scale_survives(
    make_config: MakeConfig, make_fold_data: MakeFoldData, make_checkpoints: MakeCheckpoints, tmp_path: Path
) -> None:
    config = make_config()
    model = build_regressor(config, make_fold_data(config).prepared, torch.zeros(2), (1.0, 5.0), seed=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    loss = Loss(config.loss, ("reasons", "praise"), (1.0, 5.0))

    def state(scale: float) -> FitState:
        scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        averages = WeightAverages(swa=None, ema=None, num_steps=4)
        folder = make_checkpoints().weights_dir
        return FitState(
            model, loss, optimizer, scaler, averages, None, trained_names=[], weights_dir=folder, micro_batch_size=8
        )

    saved, resumed = state(8.0), state(1024.0)
    saved.consider(model, 0.5, np.zeros((1, 2), dtype=np.float32))
    saved.last_progress = Progress(1, 4, 0.5)
    saved.write(tmp_path)
    resumed.read(tmp_path)
    assert resumed.scaler.scale(torch.ones(())).item() == 8.0


def test_a_fresh_fit_drops_an_older_fits_weights(
    make_config: MakeConfig, make_fold_data: MakeFoldData, make_checkpoints: MakeCheckpoints
) -> None:
    config = make_config()
    fold_data = make_fold_data(config)
    checkpoints = make_checkpoints()
    _, older = run(config, fold_data, checkpoints)
    assert older is not None and (older.weights_dir / "model.safetensors").exists()
    fold_data.labels_NC[:] = np.inf  # ends the next fit before it has weights of its own
    with pytest.raises(BadConfig):
        run(config, fold_data, make_checkpoints())
    assert not (older.weights_dir / "model.safetensors").exists()
