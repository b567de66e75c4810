"""Poolings over layers and by recurrent networks: their maths by hand."""

import pytest
import torch
from poolings import HIDDEN_SIZE, NUM_LAYERS, build, essays, layers_of, states
from torch import Tensor, nn

THREE_STATES = layers_of([[50.0], [50.0]], [[1.0], [3.0]], [[10.0], [30.0]])


@pytest.mark.parametrize("weighting", ["softmax", "sum"])
@pytest.mark.parametrize(("summary", "expected"), [("mean", (2 + 20) / 2), ("cls", (1 + 10) / 2)])
def test_weighted_layers_start_equal(weighting: str, summary: str, expected: float) -> None:
    pooling = build("weighted_layers", width=1, depth=2, num_layers=2, weighting=weighting, summary=summary)
    assert pooling(THREE_STATES, essays(2)).item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("weighting", "parameter", "values"),
    [("softmax", "layer_logits", [-50.0, 1.0]), ("sum", "layer_weights", [0.0, 3.0])],
)
def test_weighted_layers_follow_their_weights(weighting: str, parameter: str, values: list[float]) -> None:
    pooling = build("weighted_layers", width=1, depth=2, num_layers=2, weighting=weighting)
    with torch.no_grad():
        pooling.get_parameter(parameter).copy_(torch.tensor(values))
    assert pooling(THREE_STATES, essays(2)).item() == pytest.approx(20.0)


@pytest.mark.parametrize("weighting", ["softmax", "sum"])
@pytest.mark.parametrize(
    ("start", "logits"), [("equal", [0.0, 0.0, 0.0]), ("rising", [-5.0, 0.0, 5.0]), ("last", [-3.0, -3.0, 0.0])]
)
def test_weighted_layers_start_where_they_are_told(weighting: str, start: str, logits: list[float]) -> None:
    pooling = build("weighted_layers", width=1, depth=2, num_layers=3, weighting=weighting, start=start)
    expected = torch.tensor([50.0, 2.0, 20.0]) @ torch.tensor(logits).softmax(dim=0)
    torch.testing.assert_close(pooling(THREE_STATES, essays(2))[0, 0], expected)


def test_concat_last_keeps_the_layers_order() -> None:
    pooling = build("concat_last", width=2, depth=3, num_layers=2)
    hidden_states = layers_of([[0.0, 0.0]], [[1.0, 2.0]], [[3.0, 4.0]], [[5.0, 6.0]])
    assert pooling(hidden_states, essays(1)).tolist() == [[3.0, 4.0, 5.0, 6.0]]


def test_concat_last_of_means_reaches_down_to_the_embeddings() -> None:
    pooling = build("concat_last", width=1, depth=2, num_layers=3, summary="mean")
    hidden_states = layers_of([[1.0], [3.0]], [[10.0], [20.0]], [[5.0], [7.0]])
    assert pooling(hidden_states, essays(2)).tolist() == [[2.0, 15.0, 6.0]]


@pytest.mark.parametrize(("summary", "expected"), [("cls", (1 + 10) / 2), ("mean", (2 + 20) / 2)])
def test_mean_last_by_hand(summary: str, expected: float) -> None:
    pooling = build("mean_last", width=1, depth=2, num_layers=2, summary=summary)
    assert pooling(THREE_STATES, essays(2)).tolist() == [[expected]]


@pytest.mark.parametrize("name", ["concat_last", "weighted_layers", "mean_last"])
def test_mean_and_deviation_stand_side_by_side(name: str) -> None:
    pooling = build(name, width=1, depth=2, num_layers=2, summary="mean_std")
    pooled = pooling(THREE_STATES, essays(2))[0].tolist()
    # [1, 3] has mean 2 and deviation 1; [10, 30] has 20 and 10.
    expected = [2.0, 1.0, 20.0, 10.0] if name == "concat_last" else [(2 + 20) / 2, (1 + 10) / 2]
    assert pooled == pytest.approx(expected, rel=1e-6)


def test_the_deviation_of_equal_tokens_has_a_gradient() -> None:
    hidden_BTD = torch.ones(1, 3, 1, requires_grad=True)
    pooling = build("concat_last", width=1, depth=2, num_layers=2, summary="mean_std")
    pooling([hidden_BTD, hidden_BTD], essays(3)).sum().backward()
    assert hidden_BTD.grad is not None and hidden_BTD.grad.isfinite().all()


def read_one_by_one(network: nn.Module, vectors: list[Tensor]) -> list[Tensor]:
    """The network's output after each vector, given one at a time: nothing to be mixed up."""
    state, outputs = None, []
    for vector_D in vectors:
        output, state = network(vector_D.reshape(1, 1, -1), state)
        outputs.append(output[0, 0])
    return outputs


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_depth_networks_read_the_layers_bottom_first_without_the_embeddings(cell: str) -> None:
    pooling = build("lstm", cell=cell, hidden_size=8)
    hidden_states = states(3, 4)
    network = pooling.get_submodule(cell)
    assert type(network) is {"lstm": nn.LSTM, "gru": nn.GRU}[cell]
    expected_BH = torch.stack(
        [read_one_by_one(network, [layer[essay, 0] for layer in hidden_states[1:]])[-1] for essay in range(3)]
    )
    torch.testing.assert_close(pooling(hidden_states, essays(4, 4, 4)), expected_BH)
    # rhtsingh's form: stacked along the last dim and then reshaped, each step sees features of several layers.
    cls = torch.stack([layer[:, 0] for layer in hidden_states[1:]], dim=-1)
    scrambled_BH = network(cls.view(3, NUM_LAYERS, HIDDEN_SIZE))[0][:, -1]
    assert not torch.allclose(scrambled_BH, expected_BH, atol=0.01)


def test_depth_attention_by_hand() -> None:
    pooling = build("depth_attention", width=2, depth=2, size=8)
    with torch.no_grad():
        pooling.get_parameter("query_D").copy_(torch.tensor([0.0, 1.0]))
        pooling.get_parameter("projection_DP").zero_()[:, 0] = torch.tensor([1.0, 10.0])
    hidden_states = layers_of([[9.0, 9.0]], [[4.0, 0.0]], [[8.0, 1.0]])
    upper = torch.tensor(1.0).sigmoid().item()  # of logits 0 and 1
    expected = (1 - upper) * 4 + upper * 8 + 10 * upper
    pooled_P = pooling(hidden_states, essays(1))[0]
    assert pooled_P[0].item() == pytest.approx(expected)
    assert pooled_P[1:].eq(0).all()


def test_depth_attention_keeps_layers_apart() -> None:
    pooling = build("depth_attention", size=8)
    hidden_states = states(2, 1)
    query_D, projection_DP = pooling.get_parameter("query_D"), pooling.get_parameter("projection_DP")

    def attend(layers_LD: Tensor) -> Tensor:
        return (layers_LD @ query_D).softmax(dim=0) @ layers_LD @ projection_DP

    expected_BP = torch.stack(
        [attend(torch.stack([layer[essay, 0] for layer in hidden_states[1:]])) for essay in (0, 1)]
    )
    torch.testing.assert_close(pooling(hidden_states, essays(1, 1)), expected_BP)
    scrambled = torch.stack([layer[:, 0] for layer in hidden_states[1:]], dim=-1).view(2, NUM_LAYERS, HIDDEN_SIZE)
    assert not torch.allclose(torch.stack([attend(layers_LD) for layers_LD in scrambled]), expected_BP, atol=0.01)


def test_token_lstm_reads_each_essay_in_both_directions() -> None:
    lengths, hidden_states = (5, 3), states(2, 5)
    mean_max, final = build("token_lstm", hidden_size=8), build("token_lstm", hidden_size=8, summary="final")
    for essay, length in enumerate(lengths):
        tokens = list(hidden_states[-1][essay, :length])
        ahead = read_one_by_one(final.get_submodule("forwards"), tokens)
        back = read_one_by_one(final.get_submodule("backwards"), tokens[::-1])
        both_TH = torch.stack([torch.cat(pair) for pair in zip(ahead, back[::-1], strict=True)])
        expected = torch.cat([both_TH.mean(dim=0), both_TH.amax(dim=0)])
        torch.testing.assert_close(mean_max(hidden_states, essays(*lengths))[essay], expected)
        torch.testing.assert_close(final(hidden_states, essays(*lengths))[essay], torch.cat([ahead[-1], back[-1]]))
