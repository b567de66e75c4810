"""One contract for every pooling, then each pooling's maths by hand."""

from typing import Any, get_args

import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor
from transformers import DebertaV2Config, DebertaV2Model

from ell_tune.errors import BadConfig
from trainables.regressor.batches import Batch
from trainables.regressor.pooling import Pooling, PoolingConfig, make_pooling

HIDDEN_SIZE, NUM_LAYERS = 16, 3
NAMES = [config.model_fields["name"].default for config in get_args(get_args(PoolingConfig)[0])]
VARIANTS: dict[str, dict[str, Any]] = {  # what the contract is checked on: every pooling, and every form of one
    **{name: {"name": name} for name in NAMES},
    "weighted_layers": {"name": "weighted_layers", "num_layers": 3},
    "concat_last": {"name": "concat_last", "num_layers": 2},
    "concat_last of means": {"name": "concat_last", "num_layers": 4, "summary": "mean"},
    "concat_last of means and deviations": {"name": "concat_last", "num_layers": 2, "summary": "mean_std"},
    "lstm": {"name": "lstm", "hidden_size": 8},
}


def build(variant: str, **fields: Any) -> Pooling:
    torch.manual_seed(0)
    config = TypeAdapter(PoolingConfig).validate_python({**VARIANTS[variant], **fields})
    return make_pooling(config, HIDDEN_SIZE, NUM_LAYERS)


def batch_of(mask_BT: Tensor) -> Batch:
    return Batch(mask_BT.long(), mask_BT, torch.zeros(mask_BT.shape, dtype=torch.uint8))


def states(*shape: int, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(*shape, HIDDEN_SIZE, generator=generator) for _ in range(NUM_LAYERS + 1)]


def mask(*lengths: int) -> Tensor:
    return torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]


def essays(*lengths: int) -> Batch:
    return batch_of(mask(*lengths))


def test_every_pooling_is_under_contract() -> None:
    expected = "mean cls max mean_max attention gem weighted_layers concat_last lstm"
    assert NAMES == expected.split()


@pytest.mark.parametrize("name", VARIANTS)
class TestContract:
    def test_width(self, name: str) -> None:
        pooling = build(name)
        pooled_BP = pooling(states(2, 5), essays(5, 3))
        assert pooled_BP.shape == (2, pooling.width)
        assert pooled_BP.dtype == torch.float32

    def test_padding_changes_nothing(self, name: str) -> None:
        pooling = build(name)
        short = states(1, 3)
        # The same essay beside a longer one, its padding full of large numbers.
        padded = [torch.cat([layer, torch.full((1, 4, HIDDEN_SIZE), 1e3)], dim=1) for layer in short]
        batch = [torch.cat([layer, other]) for layer, other in zip(padded, states(1, 7, seed=1), strict=True)]
        alone, beside = pooling(short, essays(3))[0], pooling(batch, essays(3, 7))[0]
        torch.testing.assert_close(beside, alone, rtol=1e-5, atol=1e-6)

    def test_all_but_one_token_masked(self, name: str) -> None:
        pooling = build(name)
        batch = states(1, 6)
        first_token = [layer[:, :1] for layer in batch]
        masked = pooling(batch, batch_of(torch.tensor([[True] + [False] * 5])))
        torch.testing.assert_close(masked, pooling(first_token, essays(1)))

    def test_gradient_reaches_every_parameter_and_no_padding(self, name: str) -> None:
        pooling = build(name)
        hidden_states = [layer.requires_grad_() for layer in states(4, 6)]
        mask_BT = mask(6, 5, 4, 1)
        pooling(hidden_states, batch_of(mask_BT)).square().sum().backward()
        for parameter_name, parameter in pooling.named_parameters():
            assert parameter.grad is not None, parameter_name
            assert parameter.grad.abs().max() > 1e-5, parameter_name
        last_gradient_BTD = hidden_states[-1].grad
        assert last_gradient_BTD is not None
        assert last_gradient_BTD[:, 0].abs().sum(dim=-1).gt(0).all()
        assert last_gradient_BTD[~mask_BT].eq(0).all()

    def test_half_precision_stays_finite(self, name: str) -> None:
        pooling = build(name)
        half = [(100 * layer).bfloat16() for layer in states(2, 6)]
        pooled_BP = pooling(half, essays(6, 2))  # the model ends the encoder's autocast before it pools
        assert pooled_BP.dtype == torch.float32
        assert pooled_BP.isfinite().all()

    def test_padding_changes_nothing_behind_an_encoder(self, name: str) -> None:
        torch.manual_seed(0)
        encoder = DebertaV2Model(
            DebertaV2Config(
                vocab_size=20,
                hidden_size=HIDDEN_SIZE,
                num_hidden_layers=NUM_LAYERS,
                num_attention_heads=2,
                intermediate_size=32,
                relative_attention=True,
                position_buckets=4,
                pos_att_type=["p2c", "c2p"],
                position_biased_input=False,
                type_vocab_size=0,
            )
        ).eval()
        pooling = build(name)

        def pool(tokens_BT: Tensor, mask_BT: Tensor) -> Tensor:
            output = encoder(tokens_BT, attention_mask=mask_BT.long(), output_hidden_states=True)
            pooled_BP: Tensor = pooling(output.hidden_states, batch_of(mask_BT))
            return pooled_BP

        essay = torch.tensor([[1, 7, 8, 9, 2]])
        batch = torch.tensor([[1, 7, 8, 9, 2, 0, 0, 0], [1, 5, 6, 7, 8, 9, 10, 2]])
        torch.testing.assert_close(pool(batch, mask(5, 8))[0], pool(essay, mask(5))[0], rtol=1e-4, atol=1e-5)


def layers_of(*rows: list[list[float]]) -> list[Tensor]:
    """Hidden states of one essay, for pooling by hand: one [tokens, features] list per hidden state."""
    return [torch.tensor([row]) for row in rows]


TWO_TOKENS_AND_PADDING = layers_of([[1.0, -2.0], [3.0, 4.0], [99.0, 99.0]])


@pytest.mark.parametrize(
    ("name", "expected"),
    [("mean", [2.0, 1.0]), ("cls", [1.0, -2.0]), ("max", [3.0, 4.0]), ("mean_max", [2.0, 1.0, 3.0, 4.0])],
)
def test_token_poolings_by_hand(name: str, expected: list[float]) -> None:
    config = TypeAdapter(PoolingConfig).validate_python({"name": name})
    pooling = make_pooling(config, hidden_size=2, num_layers=0)
    batch = batch_of(torch.tensor([[True, True, False]]))
    assert pooling(TWO_TOKENS_AND_PADDING, batch).tolist() == [expected]


def test_max_of_negative_features_is_not_the_padding() -> None:
    pooled_BP = build("max")([-layer.abs() - 1 for layer in states(1, 4)], essays(4))
    assert (pooled_BP <= -1).all()


def test_gem_by_hand() -> None:
    config = TypeAdapter(PoolingConfig).validate_python({"name": "gem", "p": 3.0})
    pooling = make_pooling(config, hidden_size=2, num_layers=0)
    pooled_BP = pooling(TWO_TOKENS_AND_PADDING, batch_of(torch.tensor([[True, True, False]])))
    # Feature 0: ((1 + 27) / 2)^(1/3); feature 1: the negative one counts as (nearly) 0: (64 / 2)^(1/3).
    torch.testing.assert_close(pooled_BP, torch.tensor([[14.0 ** (1 / 3), 32.0 ** (1 / 3)]]))


def test_gem_with_exponent_one_is_the_mean() -> None:
    positive = [layer.abs() for layer in states(2, 5)]
    mean_BP = build("mean")(positive, essays(5, 2))
    torch.testing.assert_close(build("gem", p=1.0)(positive, essays(5, 2)), mean_BP)


def test_attention_of_equal_tokens_is_that_token() -> None:
    token = torch.randn(1, 1, HIDDEN_SIZE, generator=torch.Generator().manual_seed(3))
    pooled_BP = build("attention")([token.expand(1, 4, HIDDEN_SIZE)], essays(4))
    torch.testing.assert_close(pooled_BP, token[:, 0])


def test_weighted_layers_start_equal_and_follow_their_weights() -> None:
    config = TypeAdapter(PoolingConfig).validate_python({"name": "weighted_layers", "num_layers": 2})
    pooling = make_pooling(config, hidden_size=1, num_layers=2)
    hidden_states = layers_of([[50.0], [50.0]], [[1.0], [3.0]], [[10.0], [30.0]])
    two_tokens = essays(2)
    assert pooling(hidden_states, two_tokens).item() == pytest.approx((2 + 20) / 2)
    with torch.no_grad():
        pooling.get_parameter("layer_logits").copy_(torch.tensor([0.0, 3.0]).log().clamp(min=-50))
    assert pooling(hidden_states, two_tokens).item() == pytest.approx(20.0)


def test_concat_last_keeps_the_layers_order() -> None:
    config = TypeAdapter(PoolingConfig).validate_python({"name": "concat_last", "num_layers": 2})
    pooling = make_pooling(config, hidden_size=2, num_layers=3)
    hidden_states = layers_of([[0.0, 0.0]], [[1.0, 2.0]], [[3.0, 4.0]], [[5.0, 6.0]])
    assert pooling(hidden_states, essays(1)).tolist() == [[3.0, 4.0, 5.0, 6.0]]


def test_concat_last_of_means_reaches_down_to_the_embeddings() -> None:
    config = TypeAdapter(PoolingConfig).validate_python({"name": "concat_last", "num_layers": 3, "summary": "mean"})
    pooling = make_pooling(config, hidden_size=1, num_layers=2)
    hidden_states = layers_of([[1.0], [3.0]], [[10.0], [20.0]], [[5.0], [7.0]])
    assert pooling(hidden_states, essays(2)).tolist() == [[2.0, 15.0, 6.0]]


def test_lstm_reads_the_layers_bottom_first_without_the_embeddings() -> None:
    pooling = build("lstm")
    hidden_states = states(3, 4)
    lstm = pooling.get_submodule("lstm")
    # One essay and one layer at a time: nothing to be mixed up.
    for essay in range(3):
        state = None
        for layer in hidden_states[1:]:
            output, state = lstm(layer[essay, :1, None].reshape(1, 1, HIDDEN_SIZE), state)
        pooled_BP = pooling(hidden_states, essays(4, 4, 4))
        torch.testing.assert_close(pooled_BP[essay], output[0, 0])


@pytest.mark.parametrize(
    ("name", "num_layers", "message"),
    [
        ("weighted_layers", 5, "number of hidden states can be pooled, which is 4, but it is 5"),
        ("concat_last", 5, "number of hidden states can be pooled, which is 4, but it is 5"),
    ],
)
def test_more_layers_than_there_are(name: str, num_layers: int, message: str) -> None:
    with pytest.raises(BadConfig, match=f"pooling.num_layers: .*{message}"):
        build(name, num_layers=num_layers)
