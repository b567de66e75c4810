"""States of frozen layers that are kept: the same fit, with less work."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fits import run
from transformers import (
    BertConfig,
    BertModel,
    DebertaConfig,
    DebertaModel,
    DebertaV2Config,
    DebertaV2Model,
    MPNetConfig,
    MPNetModel,
    PreTrainedModel,
    RobertaConfig,
    RobertaModel,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from ell_tune.trainable import FoldData
from trainables.regressor import Config
from trainables.regressor.building import build_regressor
from trainables.regressor.encoder import frozen_states, state_files
from trainables.regressor.encoder.frozen_states import FrozenStates, open_frozen_states
from trainables.regressor.encoder.layers import can_be_split, hidden_states
from trainables.regressor.encoder.precision import Precision
from trainables.regressor.encoder.reader import EssayReader
from trainables.regressor.losses import Loss
from trainables.regressor.model import Regressor
from trainables.regressor.optimization.parameter_groups import freeze_parameters, parameter_table

CPU = torch.device("cpu")
RELATIVE = {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]}
FAMILIES: dict[str, tuple[Any, type[PreTrainedModel], dict[str, Any]]] = {
    "bert": (BertConfig, BertModel, {}),
    "deberta": (DebertaConfig, DebertaModel, RELATIVE),
    "deberta-v2": (DebertaV2Config, DebertaV2Model, RELATIVE | {"position_buckets": 4, "norm_rel_ebd": "layer_norm"}),
    "mpnet": (MPNetConfig, MPNetModel, {}),
    "roberta": (RobertaConfig, RobertaModel, {}),
    "xlm-roberta": (XLMRobertaConfig, XLMRobertaModel, {}),
}


@pytest.fixture(autouse=True)
def state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(state_files.tempfile, "gettempdir", lambda: str(tmp_path))
    return tmp_path


def small(family: str, **fields: Any) -> PreTrainedModel:
    torch.manual_seed(0)
    config, model, more = FAMILIES[family]
    size = {"vocab_size": 30, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}
    return model(config(**size, num_hidden_layers=3, max_position_embeddings=40, **more, **fields)).eval()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("cut", [1, 2, 3])
def test_a_split_encoder_is_the_encoder(family: str, cut: int) -> None:
    backbone = small(family)
    tokens_BT = torch.randint(5, 30, (2, 9))
    mask_BT = torch.arange(9) < torch.tensor([[9], [6]])
    tokens_BT[~mask_BT] = backbone.config.pad_token_id or 0
    whole = backbone(tokens_BT, attention_mask=mask_BT.long(), output_hidden_states=True).hidden_states
    below = hidden_states(backbone, tokens_BT, mask_BT, last=cut)
    above = hidden_states(backbone, below[-1], mask_BT, first=cut)
    assert can_be_split(backbone)
    assert (len(below), len(above)) == (cut + 1, 4 - cut)
    for state_BTD, expected_BTD in zip([*below, *above[1:]], whole, strict=True):
        torch.testing.assert_close(state_BTD[mask_BT], expected_BTD[mask_BT], rtol=1e-5, atol=1e-6)
    assert len(backbone.encoder.layer) == 3


def test_an_encoder_whose_first_layer_is_special_is_not_split() -> None:
    assert not can_be_split(small("deberta-v2", conv_kernel_size=3))


def frozen_model(config: Config, fold_data: FoldData) -> Regressor:
    model = build_regressor(config, fold_data.prepared, torch.zeros(2), (1.0, 5.0), seed=0).eval()
    freeze_parameters(parameter_table(model, Loss(config.loss, ("a", "b"), (1.0, 5.0)), config), 0)
    return model


def states_of(model: Regressor, fold_data: FoldData) -> FrozenStates | None:
    return open_frozen_states(model.encoders["first"], fold_data.prepared["first"], Precision("fp32", CPU))


def reader_of(fold_data: FoldData, kept: FrozenStates | None = None) -> EssayReader:
    return EssayReader(fold_data.prepared, CPU, {} if kept is None else {"first": kept})


FROZEN = {"embeddings": True, "num_layers": 1}


@pytest.mark.parametrize(
    ("pooling", "num_kept"),
    [({"name": "mean"}, 1), ({"name": "weighted_layers", "num_layers": 2}, 1), ({"name": "lstm", "hidden_size": 8}, 1)]
    + [({"name": "concat_last", "num_layers": 3}, 2)],
)
def test_scores_are_those_of_the_whole_encoder(
    make_config: Callable[..., Config], make_fold_data: Callable[..., FoldData], pooling: dict[str, Any], num_kept: int
) -> None:
    config = make_config(pooling=pooling, freeze=FROZEN)
    fold_data = make_fold_data(config)
    model = frozen_model(config, fold_data)
    kept = states_of(model, fold_data)
    rows = np.array([3, 31, 0])
    batch = reader_of(fold_data, kept).read(rows)
    assert len(batch["first"].frozen_states) == num_kept
    assert batch["first"].num_frozen_layers == 1
    whole = model(reader_of(fold_data).read(rows))
    torch.testing.assert_close(model(batch), whole, rtol=1e-5, atol=1e-6)


def test_what_one_fit_left_the_next_one_reads(
    make_config: Callable[..., Config], make_fold_data: Callable[..., FoldData], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(freeze=FROZEN)
    fold_data = make_fold_data(config)
    model = frozen_model(config, fold_data)
    first = states_of(model, fold_data)
    assert first is not None
    (state_BTD,) = first.read(np.array([5, 6]), CPU)
    monkeypatch.setattr(frozen_states, "hidden_states", None)  # a call would fail
    second = states_of(model, fold_data)
    assert second is not None
    assert torch.equal(second.read(np.array([5, 6]), CPU)[0], state_BTD)


def test_a_deeper_freeze_goes_on_from_a_shallower_one(
    make_config: Callable[..., Config], make_fold_data: Callable[..., FoldData], monkeypatch: pytest.MonkeyPatch
) -> None:
    pooling = {"name": "concat_last", "num_layers": 3}
    shallow = make_config(pooling=pooling, freeze=FROZEN)
    deep = make_config(pooling=pooling, freeze=FROZEN | {"num_layers": 2})
    fold_data, rows = make_fold_data(shallow), np.array([0, 1, 2])
    reader_of(fold_data, states_of(frozen_model(shallow, fold_data), fold_data)).read(rows)
    starts = []

    def noting(backbone: Any, inputs: Any, mask_BT: Any, first: int = 0, last: int | None = None) -> Any:
        starts.append(first)
        return hidden_states(backbone, inputs, mask_BT, first, last)

    monkeypatch.setattr(frozen_states, "hidden_states", noting)
    model = frozen_model(deep, fold_data)
    kept = states_of(model, fold_data)
    batch = reader_of(fold_data, kept).read(rows)
    assert set(starts) == {1}
    whole = model(reader_of(fold_data).read(rows))
    torch.testing.assert_close(model(batch), whole, rtol=1e-5, atol=1e-6)


def test_a_bottom_that_another_fit_is_still_filling_is_completed(
    make_config: Callable[..., Config], make_fold_data: Callable[..., FoldData]
) -> None:
    config = make_config(pooling={"name": "concat_last", "num_layers": 3}, freeze=FROZEN | {"num_layers": 2})
    fold_data, rows = make_fold_data(config), np.array([0, 1, 2])
    model = frozen_model(config, fold_data)
    whole = reader_of(fold_data, states_of(model, fold_data)).read(rows)
    kept = states_of(model, fold_data)
    assert kept is not None
    for present in [(0,), (0, 1), (1,), (0, 2)]:
        for k, file in kept._files.items():
            file._has[:] = k in present
            if k not in present:
                file.states[:] = 0
        again = reader_of(fold_data, kept).read(rows)
        for state_BTD, expected_BTD in zip(again["first"].frozen_states, whole["first"].frozen_states, strict=True):
            torch.testing.assert_close(state_BTD, expected_BTD, rtol=1e-5, atol=1e-6)


def change_tokens(fold_data: FoldData, model: Regressor) -> None:
    fold_data.prepared["first"].tokens[3] += 1


@torch.no_grad()
def change_frozen_weight(fold_data: FoldData, model: Regressor) -> None:
    model.encoders["first"].backbone.encoder.layer[0].output.dense.bias[0] += 1


@torch.no_grad()
def change_trained_weight(fold_data: FoldData, model: Regressor) -> None:
    model.encoders["first"].backbone.encoder.layer[1].output.dense.bias[0] += 1


@pytest.mark.parametrize(
    ("change", "num_files"), [(change_tokens, 2), (change_frozen_weight, 2), (change_trained_weight, 1)]
)
def test_only_what_states_follow_from_names_them(
    make_config: Callable[..., Config],
    make_fold_data: Callable[..., FoldData],
    state_folder: Path,
    change: Callable[[FoldData, Regressor], None],
    num_files: int,
) -> None:
    config = make_config(freeze=FROZEN)
    fold_data = make_fold_data(config)
    model = frozen_model(config, fold_data)
    states_of(model, fold_data)
    change(fold_data, model)
    states_of(model, fold_data)
    assert len(list(state_folder.rglob("*.states"))) == num_files


def test_another_way_to_compute_attention_has_states_of_its_own(
    make_config: Callable[..., Config], make_fold_data: Callable[..., FoldData], state_folder: Path
) -> None:
    # The two differ in their last bits: a fit must not depend on which of them another fit has left behind.
    for fast_attention in (True, False):
        config = make_config(freeze=FROZEN, backbone={"fast_attention": fast_attention})
        fold_data = make_fold_data(config)
        states_of(frozen_model(config, fold_data), fold_data)
    assert len(list(state_folder.rglob("*.states"))) == 2


@pytest.mark.parametrize("freeze", [{}, {"embeddings": True}, {"num_layers": 1}], ids=str)
def test_nothing_is_kept_where_nothing_is_gained(
    make_config: Callable[..., Config], make_fold_data: Callable[..., FoldData], freeze: dict[str, Any]
) -> None:
    config = make_config(freeze=freeze)
    fold_data = make_fold_data(config)
    model = frozen_model(config, fold_data)
    assert states_of(model, fold_data) is None


def test_a_fit_gives_the_same_scores_with_and_without(
    make_config: Callable[..., Config],
    make_fold_data: Callable[..., FoldData],
    make_checkpoints: Callable[..., Any],
    state_folder: Path,
) -> None:
    config = make_config(freeze=FROZEN, backbone={"dropout": 0.0}, swa={"start_frac": 0.5})
    without = make_config(freeze=FROZEN | {"keep_states": False}, swa={"start_frac": 0.5})
    kept_curve, _ = run(config, make_fold_data(config), make_checkpoints("kept"))
    assert list(state_folder.rglob("*.states"))
    plain_curve, _ = run(without, make_fold_data(without), make_checkpoints("plain"))
    kept, plain = [p.score for p in kept_curve], [p.score for p in plain_curve]
    assert kept == pytest.approx(plain, rel=1e-3)
    # The kept states are read, not computed, the second time: the same bits.
    again_curve, _ = run(config, make_fold_data(config), make_checkpoints("again"))
    assert [p.score for p in again_curve] == kept


@pytest.mark.parametrize(("num_epochs", "keeps"), [(1, False), (2, True), (3, True)])
def test_layers_that_never_thaw_within_the_fit_are_kept_too(
    make_config: Callable[..., Config],
    make_fold_data: Callable[..., FoldData],
    make_checkpoints: Callable[..., Any],
    state_folder: Path,
    num_epochs: int,
    keeps: bool,
) -> None:
    config = make_config(freeze=FROZEN | {"num_epochs": num_epochs})  # of 2
    curve, _ = run(config, make_fold_data(config), make_checkpoints("until"))
    assert bool(list(state_folder.rglob("*.states"))) == keeps
    if keeps:
        for_good = make_config(freeze=FROZEN)
        assert [p.score for p in run(for_good, make_fold_data(for_good), make_checkpoints("good"))[0]] == [
            p.score for p in curve
        ]


def test_a_full_disk_costs_speed_only(
    make_config: Callable[..., Config],
    make_fold_data: Callable[..., FoldData],
    make_checkpoints: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(state_files.os, "posix_fallocate", full)
    config = make_config(freeze=FROZEN)
    curve, _ = run(config, make_fold_data(config), make_checkpoints())
    assert len(curve) == 4
    assert "No space left on device" in caplog.text


def test_sift_reaches_the_embeddings_of_a_frozen_bottom(
    make_config: Callable[..., Config],
    make_fold_data: Callable[..., FoldData],
    make_checkpoints: Callable[..., Any],
    state_folder: Path,
) -> None:
    config = make_config(freeze=FROZEN, adversarial={"name": "sift", "lr": 0.5, "init": 0.1, "start_frac": 0.0})
    curve, _ = run(config, make_fold_data(config), make_checkpoints("sift"))
    plain = make_config(freeze=FROZEN | {"keep_states": False})
    plain_curve, _ = run(plain, make_fold_data(plain), make_checkpoints("plain"))
    assert not list(state_folder.rglob("*.states"))
    assert curve[-1].metrics["score_raw"] != pytest.approx(plain_curve[-1].metrics["score_raw"], rel=1e-5)
