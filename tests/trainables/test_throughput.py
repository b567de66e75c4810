"""The pieces that make a comparison fair; the comparison itself takes minutes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.cases import CASES, build_peer_model, case_config
from benchmarks.growth import essays_of_length
from benchmarks.ours import OurTraining
from benchmarks.peer import TokenLists, train_with_trainer
from benchmarks.throughput import Result, summarise
from ell_tune.trainable import FoldData
from trainables.regressor import Config, preparation, prepare
from trainables.regressor.encoder.disentangled_attention import FastDisentangledSelfAttention
from trainables.regressor.essays.text import TokenisedEssays


@pytest.fixture
def config(make_config: Callable[..., Config]) -> Config:
    return make_config(training={"num_epochs": 2, "batch_size": 8, "evaluations": 1})


@pytest.fixture
def fold_data(config: Config, essays: list[str]) -> FoldData:
    prepared = prepare(preparation(config), essays[:16])
    labels_NC = np.random.default_rng(0).uniform(1, 5, (16, 2)).astype(np.float32)
    return FoldData(prepared, labels_NC, np.arange(16), np.arange(0), ("a", "b"), (1.0, 5.0), seed=0)


def test_both_sides_count_the_same_tokens_in_every_pass(config: Config, fold_data: FoldData, tmp_path: Path) -> None:
    ours = OurTraining(config, fold_data, tmp_path)
    counted: list[tuple[int, int]] = []
    peer_model = build_peer_model(config, fold_data)
    before = peer_model.head.output.weight.clone()
    train_with_trainer(config, fold_data, peer_model, 2, lambda tokens, _: counted.append((ours.run(2), tokens)))
    essays: TokenisedEssays = fold_data.prepared["first"]
    assert counted == [(essays.lengths.sum(), essays.lengths.sum())] * 2
    assert not torch.equal(peer_model.head.output.weight, before)


def test_both_sides_start_from_the_same_weights(config: Config, fold_data: FoldData, tmp_path: Path) -> None:
    ours, peer = OurTraining(config, fold_data, tmp_path).model, build_peer_model(config, fold_data)
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), peer.parameters(), strict=True))
    fast = [sum(isinstance(m, FastDisentangledSelfAttention) for m in model.modules()) for model in (ours, peer)]
    assert fast == [2, 0]


def test_the_trainer_gets_unpadded_essays_with_their_labels(fold_data: FoldData) -> None:
    lists = TokenLists(fold_data)
    assert len(lists) == 16
    assert lists[3]["input_ids"] == fold_data.prepared["first"].essay(3).tolist()
    assert lists[3]["attention_mask"] == [1] * fold_data.prepared["first"].lengths[3]
    assert lists[3]["labels"].tolist() == fold_data.labels_NC[3].tolist()


def test_the_ratio_is_the_median_over_pairs_not_of_medians() -> None:
    result = summarise("case", [(10.0, 5.0), (30.0, 10.0), (20.0, 20.0)])
    assert result == Result(case="case", ours=20.0, peer=10.0, ratio=2.0)
    assert summarise("case", [(1.0, 1.0), (20.0, 5.0), (30.0, 10.0)]).ratio == 3.0


@pytest.mark.parametrize("num_tokens", [16, 64])
def test_essays_of_one_length(num_tokens: int) -> None:
    assert essays_of_length(num_tokens, 3, seed=0).prepared["first"].lengths.tolist() == [num_tokens] * 3


def test_the_frozen_case_trains_the_top_layers_only(tmp_path: Path) -> None:
    fold_data = essays_of_length(16, 8, seed=0)
    with case_config(CASES["minilm-frozen"], num_epochs=1) as (config, _):
        model: Any = OurTraining(config, fold_data, tmp_path).model
    trained = {
        name for name, parameter in model.encoders["first"].backbone.named_parameters() if parameter.requires_grad
    }
    assert {name.split(".")[2] for name in trained} == {"4", "5"}
