"""Freezing: what is refused, what stands still, and thawing after some epochs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fits import RICH, run, without_throughput
from safetensors.torch import load_file

from ell_tune.errors import BadConfig
from ell_tune.trainable import FoldData
from trainables.regressor import Config
from trainables.regressor.fit.gradients import set_training_mode
from trainables.regressor.losses import Loss
from trainables.regressor.model import Regressor
from trainables.regressor.optimization.freezing import FreezeConfig, check_layers
from trainables.regressor.optimization.parameter_groups import freeze_parameters, parameter_table

MakeConfig = Callable[..., Config]
MakeFoldData = Callable[..., FoldData]
MakeCheckpoints = Callable[..., Any]


@pytest.mark.parametrize(("freeze", "reinit"), [(3, 0), (0, 3), (2, 1)])
def test_more_layers_frozen_and_reinitialised_than_there_are(freeze: int, reinit: int) -> None:
    message = f"which is 2, .* freeze.num_layers is {freeze} and reinit.num_layers is {reinit}"
    with pytest.raises(BadConfig, match=message):
        check_layers(FreezeConfig(num_layers=freeze), reinit, num_layers=2)
    check_layers(FreezeConfig(num_layers=1), 1, num_layers=2)


def test_a_frozen_encoder_has_no_random_layer() -> None:
    with pytest.raises(BadConfig, match="freeze.encoder: .* reinit.num_layers is 1. Set it to 0, or freeze bottom"):
        check_layers(FreezeConfig(encoder=True), 1, num_layers=None)
    check_layers(FreezeConfig(encoder=True), 0, num_layers=12)


@pytest.mark.parametrize(
    ("freeze", "frozen"),
    [
        ({"embeddings": True}, {"embeddings"}),
        ({"num_layers": 1}, {"layer 1"}),
        ({"embeddings": True, "num_layers": 2}, {"embeddings", "layer 1", "layer 2"}),
        ({"encoder": True, "num_epochs": 1}, {"embeddings", "layer 1", "layer 2"}),
    ],
    ids=["embeddings", "a layer", "both", "thaws"],
)
def test_dropout_is_off_in_what_is_frozen(
    make_config: MakeConfig, make_model: Callable[..., Regressor], freeze: dict[str, Any], frozen: set[str]
) -> None:
    config = make_config(backbone={"dropout": 0.1}, freeze=freeze)
    model = make_model(backbone={"dropout": 0.1})
    table = parameter_table(model, Loss(config.loss, ("a", "b"), (1.0, 5.0)), config)
    for epoch, still_frozen in ((0, frozen), (1, set() if "num_epochs" in freeze else frozen)):
        freeze_parameters(table, epoch)
        set_training_mode(model)
        layers = model.encoders["first"].backbone.encoder.layer
        assert model.encoders["first"].backbone.embeddings.dropout.training == ("embeddings" not in still_frozen)
        assert layers[0].output.dropout.training == ("layer 1" not in still_frozen)
        assert layers[1].output.dropout.training == ("layer 2" not in still_frozen)
        assert model.head.training


def weights_at(folder: Path) -> dict[str, torch.Tensor]:
    """The parameters in a checkpoint: all that are ever trained."""
    model: dict[str, torch.Tensor] = torch.load(folder / "state.pt", weights_only=True)["model"]
    return model


def test_the_encoder_thaws_after_its_epochs(
    make_config: MakeConfig, make_fold_data: MakeFoldData, make_checkpoints: MakeCheckpoints, tiny_deberta: Path
) -> None:
    # A weight decay that would be seen in whatever is in the optimizer with a gradient of 0.
    config = make_config(freeze={"encoder": True, "num_epochs": 1}, optimizer={"weight_decay": 1.0})
    checkpoints = make_checkpoints()
    fold_data = make_fold_data(config)
    run(config, fold_data, checkpoints)
    after_2, after_4, after_6, _ = map(weights_at, checkpoints.saved)  # of 8 steps in 2 epochs
    pretrained = load_file(tiny_deberta / "model.safetensors")
    # The paragraph token's embedding, which is in a spare row, has no pretrained value.
    pretrained["embeddings.word_embeddings.weight"][list(fold_data.prepared["first"].added_token_ids)] = 0

    def moved(weights: dict[str, torch.Tensor]) -> set[str]:
        known = {name: weights[f"encoders.first.backbone.{name}"].clone() for name in pretrained}
        known["embeddings.word_embeddings.weight"][list(fold_data.prepared["first"].added_token_ids)] = 0
        return {name for name, weight in known.items() if not torch.equal(weight, pretrained[name])}

    assert moved(after_2) == moved(after_4) == set()
    assert not torch.equal(after_2["head.output.weight"], after_4["head.output.weight"])
    assert moved(after_6) == pretrained.keys()
    # Moments and their correction begin with the thaw: two steps by then, six for the head.
    state = torch.load(checkpoints.saved[2] / "state.pt", weights_only=True)["optimizer"]["state"]
    assert sorted({int(moments["step"]) for moments in state.values()}) == [2, 6]


def test_until_the_thaw_a_fit_is_the_one_that_freezes_for_good(
    make_config: MakeConfig, make_fold_data: MakeFoldData, make_checkpoints: MakeCheckpoints
) -> None:
    curves = []
    for name, freeze in (("thaws", {"encoder": True, "num_epochs": 1}), ("frozen", {"encoder": True})):
        config = make_config(freeze=freeze, backbone={"dropout": 0.1}, optimizer={"clip_norm": 1.0})
        curve, _ = run(config, make_fold_data(config), make_checkpoints(name))
        curves.append([progress.score for progress in curve])
    assert curves[0][:2] == curves[1][:2]
    assert curves[0][2] != curves[1][2]


@pytest.mark.parametrize(("stop_after", "algorithm"), [(1, "adamw"), (2, "adamw"), (3, "adamw"), (3, "adafactor")])
def test_a_fit_resumes_before_at_and_after_the_thaw(
    make_config: MakeConfig,
    make_fold_data: MakeFoldData,
    make_checkpoints: MakeCheckpoints,
    stop_after: int,
    algorithm: str,
) -> None:
    # Averaging starts (after step 2 of 8) while the encoder is frozen (until step 4): its mean must thaw too.
    config = make_config(
        **RICH
        | {
            "freeze": {"embeddings": True, "num_layers": 1, "num_epochs": 1},
            "swa": {"start_frac": 0.25},
            "optimizer": {"algorithm": {"name": algorithm}, "clip_norm": 1.0},
            "loss": {"criterion": {"name": "rmse"}, "uncertainty": {"lr": 1e-2}},
        }
    )
    fold_data = make_fold_data(config)
    whole_curve, whole = run(config, fold_data, make_checkpoints("whole"))
    first = make_checkpoints("first")
    begun, _ = run(config, fold_data, first, stop_after)
    torch.manual_seed(0)
    second = make_checkpoints("second", first.saved)
    continued, result = run(config, fold_data, second)
    assert without_throughput(begun + continued[1:]) == without_throughput(whole_curve)
    assert whole is not None and result is not None
    assert result.score == whole.score and np.array_equal(result.oof_MC, whole.oof_MC)
    saved = torch.load(second.saved[-1] / "state.pt", weights_only=True)
    assert saved["loss"]["log_variance_C"].abs().min() > 1e-3  # learned, and not lost
    undisturbed = torch.load(make_checkpoints("whole").root / "checkpoint_3" / "state.pt", weights_only=True)
    for part, expected in [
        (saved["model"], undisturbed["model"]),
        (saved["averages"]["swa"]["model"], undisturbed["averages"]["swa"]["model"]),
        (saved["loss"], undisturbed["loss"]),
    ]:
        assert part.keys() == expected.keys()
        assert all(torch.equal(tensor, expected[name]) for name, tensor in part.items())


@pytest.mark.parametrize("stop_after", [1, 2, 3])
def test_all_that_is_kept_of_weights_thaws_too(
    make_config: MakeConfig, make_fold_data: MakeFoldData, make_checkpoints: MakeCheckpoints, stop_after: int
) -> None:
    # A soup of weights from before and after the thaw, an average that began before it, and an adversary of embeddings
    # that are frozen at first.
    config = make_config(
        freeze={"embeddings": True, "num_layers": 1, "num_epochs": 1},
        ema={"decay": 0.9},
        soup={"num_checkpoints": 4},
        adversarial={"name": "fgm"},
        prior_decay={"strength": 0.1},
        mixout={"p": 0.1},
    )
    fold_data = make_fold_data(config)
    whole_curve, whole = run(config, fold_data, make_checkpoints("whole"))
    first = make_checkpoints("first")
    begun, _ = run(config, fold_data, first, stop_after)
    continued, result = run(config, fold_data, make_checkpoints("second", first.saved))
    assert without_throughput(begun + continued[1:]) == without_throughput(whole_curve)
    assert whole is not None and result is not None and np.array_equal(result.oof_MC, whole.oof_MC)
    assert {"score_raw", "score_ema", "score_soup"} <= whole_curve[-1].metrics.keys()
