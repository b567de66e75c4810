"""Poolings over tokens: their maths by hand."""

import pytest
import torch
from poolings import HIDDEN_SIZE, build, essays, layers_of, states
from torch import Tensor

from trainables.regressor.essays.batches import Batch

TWO_TOKENS_AND_PADDING = layers_of([[1.0, -2.0], [3.0, 4.0], [99.0, 99.0]])
TWO_OF_THREE = Batch(torch.ones(1, 3), torch.tensor([[True, True, False]]), torch.zeros(1, 3, dtype=torch.uint8))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mean", [2.0, 1.0]),
        ("cls", [1.0, -2.0]),
        ("max", [3.0, 4.0]),
        ("min", [1.0, -2.0]),
        ("mean_max", [2.0, 1.0, 3.0, 4.0]),
        ("mean_max_min", [2.0, 1.0, 3.0, 4.0, 1.0, -2.0]),
        ("mean_max_cls", [2.0, 1.0, 3.0, 4.0, 1.0, -2.0]),
    ],
)
def test_token_poolings_by_hand(name: str, expected: list[float]) -> None:
    assert build(name, width=2, depth=0)(TWO_TOKENS_AND_PADDING, TWO_OF_THREE).tolist() == [expected]


def test_max_of_negative_features_is_not_the_padding() -> None:
    pooled_BP = build("max")([-layer.abs() - 1 for layer in states(1, 4)], essays(4))
    assert (pooled_BP <= -1).all()


def test_min_of_large_features_is_not_the_padding() -> None:
    # Popular code fills padding with 1e-4 where it means 1e4: every feature above .0001 is then lost.
    hidden_states = layers_of([[2.0, -2.0], [3.0, 5.0], [0.0, 0.0]])
    buggy_BD = hidden_states[-1].masked_fill(~TWO_OF_THREE.mask_BT.unsqueeze(-1), 1e-4).amin(dim=1)
    assert buggy_BD[0].tolist() == [pytest.approx(1e-4), -2.0]
    assert build("min", width=2, depth=0)(hidden_states, TWO_OF_THREE).tolist() == [[2.0, -2.0]]


def test_gem_by_hand() -> None:
    pooled_BP = build("gem", width=2, depth=0, p=3.0)(TWO_TOKENS_AND_PADDING, TWO_OF_THREE)
    # Feature 0: ((1 + 27) / 2)^(1/3); feature 1: the negative one counts as (nearly) 0: (64 / 2)^(1/3).
    torch.testing.assert_close(pooled_BP, torch.tensor([[14.0 ** (1 / 3), 32.0 ** (1 / 3)]]))


def test_gem_with_exponent_one_is_the_mean() -> None:
    positive = [layer.abs() for layer in states(2, 5)]
    batch = essays(5, 2)
    torch.testing.assert_close(build("gem", p=1.0)(positive, batch), build("mean")(positive, batch))


def test_attention_of_equal_tokens_is_that_token() -> None:
    token = torch.randn(1, 1, HIDDEN_SIZE, generator=torch.Generator().manual_seed(3))
    pooled_BP = build("attention")([token.expand(1, 4, HIDDEN_SIZE)], essays(4))
    torch.testing.assert_close(pooled_BP, token[:, 0])


def test_attention_follows_its_scores() -> None:
    pooling = build("attention")
    score = pooling.get_submodule("score")
    hidden_states = states(1, 3)
    last_TD = hidden_states[-1][0]
    weights = [score(token_D).exp() for token_D in last_TD]
    total = sum(weight * token_D for weight, token_D in zip(weights, last_TD, strict=True))
    torch.testing.assert_close(pooling(hidden_states, essays(3))[0], total / sum(weights))


def test_attention_mean_is_both_side_by_side() -> None:
    hidden_states, batch = states(2, 5), essays(5, 3)
    pooled_BP = build("attention_mean")(hidden_states, batch)
    attention, mean = build("attention"), build("mean")
    expected = torch.cat([attention(hidden_states, batch), mean(hidden_states, batch)], dim=1)
    torch.testing.assert_close(pooled_BP, expected)


def test_conv1d_by_hand() -> None:
    pooling = build("conv1d", width=1, depth=0, hidden_channels=8, out_channels=8)
    with torch.no_grad():
        for parameter in pooling.parameters():
            parameter.zero_()
        # First: relu(x[t - 1] + 2 x[t] + 1) in channel 0; second, in channel 0: y[t - 1] - y[t] + 0.5.
        pooling.get_parameter("first.weight")[0, 0] = torch.tensor([1.0, 2.0])
        pooling.get_parameter("first.bias")[0] = 1.0
        pooling.get_parameter("second.weight")[0, 0] = torch.tensor([1.0, -1.0])
        pooling.get_parameter("second.bias")[0] = 0.5
    pooled_BP = pooling(layers_of([[1.0], [-3.0], [99.0]]), TWO_OF_THREE)
    # x = 0 1 -3 0: y = 3, relu(-4) = 0, relu(-2) = 0; then 0 3 0 0 0 gives -3, 3, 0, 0, each plus 0.5.
    assert pooled_BP[0, 0].item() == 3.5
    assert pooled_BP[0, 1:].eq(0).all()


def test_a_convolution_over_padding_would_not_be_blind_to_it() -> None:
    def popular(last_BTD: Tensor) -> Tensor:
        """Without the masks: padded positions take part in the max."""
        pooling = build("conv1d", hidden_channels=8, out_channels=8)
        first, second = pooling.get_submodule("first"), pooling.get_submodule("second")
        result: Tensor = second(first(last_BTD.transpose(1, 2)).relu()).amax(dim=2)
        return result

    last_BTD = states(1, 3)[-1]
    padded_BTD = torch.cat([last_BTD, torch.full((1, 4, HIDDEN_SIZE), 5.0)], dim=1)
    assert not torch.allclose(popular(padded_BTD), popular(last_BTD))
    pooling = build("conv1d", hidden_channels=8, out_channels=8)
    torch.testing.assert_close(pooling([last_BTD], essays(3)), popular(last_BTD))
