"""Configs that cannot be trained, and configs that are not legal."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from fits import run

from ell_tune.config import validate
from ell_tune.errors import BadConfig
from ell_tune.trainable import FoldData
from trainables.regressor import Config
from trainables.regressor.model import Regressor

MakeConfig = Callable[..., Config]
MakeFoldData = Callable[..., FoldData]
MakeCheckpoints = Callable[..., Any]


def test_divergence_is_a_bad_config(
    make_config: MakeConfig, make_fold_data: MakeFoldData, make_checkpoints: MakeCheckpoints
) -> None:
    config = make_config()
    fold_data = make_fold_data(config)
    fold_data.labels_NC[3, 0] = np.inf
    checkpoints = make_checkpoints()
    with pytest.raises(BadConfig, match="diverged: the training loss .* optimiser step 1. Lower optimizer.lr"):
        run(config, replace(fold_data, train_rows=np.array([3, 4] * 8)), checkpoints)
    assert checkpoints.latest() is None


def test_out_of_gpu_memory_is_a_bad_config(
    make_config: MakeConfig,
    make_fold_data: MakeFoldData,
    make_checkpoints: MakeCheckpoints,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = make_config()

    def too_large(*_: object) -> None:
        raise torch.OutOfMemoryError("Tried to allocate 2 GiB")

    monkeypatch.setattr(Regressor, "outputs", too_large)
    message = r"out of memory: essays of text.max_length=64 .* smaller batches cannot help.*\(Tried to allocate 2 GiB\)"
    with pytest.raises(BadConfig, match=message) as raised:
        run(config, make_fold_data(config), make_checkpoints())
    assert raised.value.__context__ is None


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"freeze": {"num_layers": 3}}, "freeze.num_layers is 3"),
        ({"pooling": {"name": "concat_last", "num_layers": 4}}, "pooling.num_layers: "),
        ({"training": {"evaluations": 9}}, "training.evaluations: .*there are 8"),
    ],
)
def test_configs_that_do_not_fit_the_model(
    make_config: MakeConfig,
    make_fold_data: MakeFoldData,
    make_checkpoints: MakeCheckpoints,
    sections: dict[str, Any],
    message: str,
) -> None:
    config = make_config(**sections)
    with pytest.raises(BadConfig, match=message):
        run(config, make_fold_data(config), make_checkpoints())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"pooling": {"name": "meen"}}, "pooling: `name` must be one of 'mean', 'cls'"),
        ({"optimizer": {"lr": 1.0}}, "optimizer.lr: .*at most 0.01, got 1.0"),
        ({"swa": {"start_frac": 1.0}}, "swa.start_frac: .*at most 0.99"),
        ({"training": {"micro_batch_size": 64}}, "training: .*at most batch_size, but they are 64 and 8"),
        ({"training": {"batchsize": 4}}, "training.batchsize: there is no such field"),
        ({"text": {"paragraph_end_token": "[PARAGRAPH]"}}, "text: paragraph_end_token must be another .*'.PARAGRAPH.'"),
    ],
)
def test_illegal_configs_are_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        validate(Config, values)


@pytest.mark.parametrize("off", [False, "off", None])
def test_swa_and_clipping_can_be_off(off: object) -> None:
    config = Config.model_validate({"swa": off, "optimizer": {"clip_norm": off}})
    assert config.swa is None and config.optimizer.clip_norm is None


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"optimizer": {"algorithm": {"name": "adamw_8bit"}}}, "^optimizer.algorithm: adamw_8bit needs a GPU"),
        ({"loss": {"target_weights": {"cohesion": 1.0}}}, "^loss.target_weights: .* targets reasons, praise"),
        ({"backbone": {"name": "package:no_such/model"}}, "^backbone.name: .*no package 'no_such'"),
    ],
)
def test_what_cannot_be_had_is_its_configs_fault(
    make_config: MakeConfig,
    make_fold_data: MakeFoldData,
    make_checkpoints: MakeCheckpoints,
    monkeypatch: pytest.MonkeyPatch,
    sections: dict[str, Any],
    message: str,
) -> None:
    # A trial of it fails alone. A `UserError` would end the search, which other configs could go on with.
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    fold_data = make_fold_data(make_config())
    with pytest.raises(BadConfig, match=message):
        run(make_config(**sections), fold_data, make_checkpoints())
