"""Several encoders in one regressor: each with its own tokenizer, pooling, freezing and learning rates."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fits import RICH, assert_resumes_at_every_evaluation, run
from torch import Tensor

from ell_tune.errors import BadConfig
from ell_tune.trainable import FoldData
from trainables.regressor import Config, predict, preparation, prepare
from trainables.regressor.building import build_regressor
from trainables.regressor.encoder.reader import EssayReader
from trainables.regressor.fit.gradients import accumulate_gradients
from trainables.regressor.fit.starting import start_fit
from trainables.regressor.model import Regressor
from trainables.regressor.table import table_of

CPU = torch.device("cpu")
ROWS = np.array([3, 31, 0, 8])

MakeTwo = Callable[..., Config]
MakeFoldData = Callable[..., FoldData]


@pytest.fixture
def make_two(make_config: Callable[..., Config], tiny_bert: Path) -> MakeTwo:
    """A config of the tiny DeBERTa and the tiny BERT; `second` is laid over the latter's own."""

    def make(second: dict[str, Any] | None = None, **sections: Any) -> Config:
        own = {"backbone": {"name": str(tiny_bert)}, "text": {"max_length": 48, "paragraph_token": None}}
        return make_config(second=own | (second or {}), **sections)

    return make


def build(config: Config, fold_data: FoldData) -> Regressor:
    return build_regressor(config, fold_data.prepared, torch.tensor([3.0, 2.0]), (1.0, 5.0), seed=0).eval()


def weights(model: Regressor) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def test_each_encoder_reads_an_essay_with_its_own_tokenizer(make_two: MakeTwo, make_config: Any) -> None:
    together = prepare(preparation(make_two()), ["good people.\n\nbad time. " * 20])
    alone = prepare(preparation(make_config()), ["good people.\n\nbad time. " * 20])
    assert (together["first"].tokens == alone["first"].tokens).all()
    assert (together["first"].vocab_size, together["second"].vocab_size) == (43, 20)  # with and without [PARAGRAPH]
    assert (together["first"].lengths.item(), together["second"].lengths.item()) == (64, 48)


def test_features_are_each_encoders_own_side_by_side(
    make_two: MakeTwo, make_config: Callable[..., Config], make_fold_data: MakeFoldData, tiny_bert: Path
) -> None:
    config = make_two(second={"pooling": {"name": "cls"}})
    fold_data = make_fold_data(config)
    both = build(config, fold_data)
    with torch.no_grad():
        features = both.features(EssayReader(fold_data.prepared, CPU).read(ROWS))
        alone = [
            build(one, data).features(EssayReader(data.prepared, CPU).read(ROWS))
            for one in (
                make_config(),
                make_config(
                    backbone={"name": str(tiny_bert)},
                    text={"max_length": 48, "paragraph_token": None},
                    pooling={"name": "cls"},
                ),
            )
            for data in [make_fold_data(one)]
        ]
    torch.testing.assert_close(features, torch.cat(alone, dim=1))
    assert features.shape == (4, 32 + 24)
    torch.testing.assert_close(features[:, :32].std(dim=1), features[:, 32:].std(dim=1), rtol=0.1, atol=0)


def test_an_essay_scores_the_same_whatever_it_is_batched_with(make_two: MakeTwo, make_fold_data: MakeFoldData) -> None:
    config = make_two()
    fold_data = make_fold_data(config)
    model, reader = build(config, fold_data), EssayReader(fold_data.prepared, CPU)
    with torch.no_grad():
        together = model(reader.read(ROWS))
        alone = torch.cat([model(reader.read(np.array([row]))) for row in ROWS])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)


def test_where_one_pooling_has_features_for_each_target_the_others_are_shared(
    make_two: MakeTwo, make_fold_data: MakeFoldData
) -> None:
    config = make_two(pooling={"name": "per_target", "num_layers": 2})
    fold_data = make_fold_data(config)
    model = build(config, fold_data)
    features_BCP = model.features(EssayReader(fold_data.prepared, CPU).read(ROWS))
    assert features_BCP.shape == (4, 2, 32 + 24)
    assert torch.equal(features_BCP[:, 0, 32:], features_BCP[:, 1, 32:])


def test_every_parameter_has_the_rate_and_the_freezing_of_its_encoder(make_two: MakeTwo) -> None:
    config = make_two(
        second={
            "optimizer": {"lr": 1e-4, "layer_rates": {"name": "decay", "decay": 0.1}},
            "freeze": {"embeddings": True, "num_layers": 1},
        },
        optimizer={"lr": 1e-3, "head_lr": 1e-2, "layer_rates": {"name": "decay", "decay": 0.5}},
    )
    table = table_of(config, ("a", "b"))
    found = {row.part: (pytest.approx(row.lr), row.frozen_epochs > 0) for row in table}
    assert found == {
        "head": (1e-2, False),
        "layer 2": (1e-3, False),
        "layer 1": (5e-4, False),
        "embeddings": (2.5e-4, False),
        "second layer 3": (1e-4, False),
        "second layer 2": (1e-5, False),
        "second layer 1": (1e-6, True),
        "second embeddings": (1e-7, True),
    }
    names = [name for row in table for name in row.parameters]
    assert len(names) == len(set(names)) > 80


def test_a_fit_trains_both_and_predicts_from_its_folder(
    make_two: MakeTwo, make_fold_data: MakeFoldData, make_checkpoints: Callable[..., Any], essays: list[str]
) -> None:
    config = make_two(second={"freeze": {"embeddings": True, "num_layers": 1}, "reinit": {"num_layers": 1}})
    fold_data = make_fold_data(config)
    fit = start_fit(config, fold_data, make_checkpoints("before"))
    assert fit.reader.frozen_states.keys() == {"second"}
    before = weights(fit.state.model)
    _, result = run(config, fold_data, make_checkpoints())
    assert result is not None
    np.testing.assert_allclose(predict(result.weights_dir, essays[30:]), result.oof_MC, atol=1e-5)
    after = weights(start_fit(config, fold_data, make_checkpoints("after")).state.model)
    assert all(torch.equal(after[name], value) for name, value in before.items())  # the same start, whatever was before


def test_gradients_reach_what_is_trained_of_both(
    make_two: MakeTwo, make_fold_data: MakeFoldData, make_checkpoints: Callable[..., Any]
) -> None:
    config = make_two(second={"freeze": {"embeddings": True, "num_layers": 1}})
    fold_data = make_fold_data(config)
    fit = start_fit(config, fold_data, make_checkpoints())
    model, rows = fit.state.model, np.arange(8)
    with torch.no_grad():
        model.head.output.weight.mul_(20)
    _, num_tokens = accumulate_gradients(
        model, fit.reader, [rows], fold_data, fit.state.loss, fit.precision, fit.state.scaler
    )
    assert num_tokens == sum(fold_data.prepared[name].lengths[rows].sum() for name in ("first", "second"))
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
    for encoder in model.encoders.values():
        layer = encoder.backbone.get_submodule(f"encoder.layer.{encoder.num_layers - 1}")
        assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in layer.parameters())


def test_a_resumed_fit_of_two_goes_on_bit_for_bit(
    make_two: MakeTwo, make_fold_data: MakeFoldData, make_checkpoints: Callable[..., Any]
) -> None:
    config = make_two(second={"freeze": {"num_layers": 1}, "pooling": {"name": "attention"}}, **RICH)
    assert_resumes_at_every_evaluation(config, make_fold_data(config), make_checkpoints)


@pytest.mark.parametrize("name", ["awp", "fgm", "sift"])
@pytest.mark.parametrize("sections", [{"mixout": {"p": 0.3}}, {"prior_decay": {"strength": 1.0}}], ids=str)
def test_what_acts_on_encoders_acts_on_both(
    make_two: MakeTwo,
    make_fold_data: MakeFoldData,
    make_checkpoints: Callable[..., Any],
    name: str,
    sections: dict[str, Any],
) -> None:
    both = make_two(adversarial={"name": name, "start_frac": 0.0}, **sections)
    plain_curve, _ = run(make_two(), make_fold_data(both), make_checkpoints("plain"))
    curve, result = run(both, make_fold_data(both), make_checkpoints("both"))
    assert result is not None and np.isfinite(result.score)
    assert [p.score for p in curve] != [p.score for p in plain_curve]


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"backbone": {"name": "package:no_such/model"}}, r"^second\.backbone\.name: .*no package"),
        ({"freeze": {"num_layers": 4}}, r"^second\.freeze\.num_layers: .* which is 3"),
        ({"text": {"max_length": 100}}, r"^second\.text\.max_length: .* which is 80"),
        ({"pooling": {"name": "weighted_layers", "num_layers": 5}}, r"^second\.pooling\.num_layers: "),
        (
            {"optimizer": {"layer_rates": {"name": "grouped", "num_groups": 4}}},
            r"^second\.optimizer\.layer_rates\.num_groups: ",
        ),
    ],
)
def test_a_message_says_which_encoder_it_is_about(
    make_two: MakeTwo,
    make_fold_data: MakeFoldData,
    make_checkpoints: Callable[..., Any],
    second: dict[str, Any],
    message: str,
) -> None:
    config = make_two(second=second)
    with pytest.raises(BadConfig, match=message):
        run(config, make_fold_data(config), make_checkpoints())
