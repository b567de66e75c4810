"""A head's pieces by hand: hidden layers, multi-sample dropout, bounds, and the head that has none of them."""

import math
from typing import Any

import pytest
import torch
from heads import NORMAL_STD, WIDTH, build, features_of
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from trainables.regressor.head import Head
from trainables.regressor.head.multi_sample_dropout import DropoutConfig, MultiSampleDropout
from trainables.regressor.head.score_bounds import bounded_scores, logit_of_mean, mean_logits
from trainables.regressor.losses import Loss, LossConfig

LN3 = math.log(3.0)
FB3 = (1.0, 5.0)


def test_the_default_is_a_linear_map_drawn_as_it_always_was() -> None:
    head = build()
    state = torch.get_rng_state()
    torch.manual_seed(0)
    plain = nn.Linear(WIDTH, 2)  # draws too, before it is drawn over
    nn.init.normal_(plain.weight, std=NORMAL_STD)
    nn.init.zeros_(plain.bias)
    assert torch.equal(state, torch.get_rng_state())
    features = features_of(6, WIDTH)
    assert torch.equal(head(features), torch.tensor([3.0, 2.0]) + plain(features))
    assert list(head.state_dict()) == ["target_means_C", "output.weight", "output.bias"]


def test_a_target_reads_its_own_features_through_its_own_row() -> None:
    head = build(width=2)
    with torch.no_grad():
        head.output.weight.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        head.output.bias.copy_(torch.tensor([0.5, -0.5]))
    # Means 3 and 2: 3 + (1·1 + 2·0) + .5 and 2 + (3·0 + 4·1) - .5.
    assert head(torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])).tolist() == [[4.5, 5.5]]


@pytest.mark.parametrize(
    ("activation", "of_1", "of_minus_1"),
    [
        ("relu", 1.0, 0.0),
        ("tanh", math.tanh(1), math.tanh(-1)),
        # x times the normal distribution function at x
        ("gelu", 0.5 * (1 + math.erf(1 / math.sqrt(2))), -0.5 * (1 + math.erf(-1 / math.sqrt(2)))),
    ],
)
@pytest.mark.parametrize("per_target", [False, True])
def test_hidden_layers_by_hand(activation: str, of_1: float, of_minus_1: float, per_target: bool) -> None:
    head = build(width=1, hidden={"width": 4, "activation": activation, "per_target": per_target}, init="zeros")
    maps = [module for module in head.hidden.modules() if isinstance(module, nn.Linear)]
    assert len(maps) == (2 if per_target else 1)
    with torch.no_grad():
        for sign, layer in zip((1.0, -1.0), maps, strict=False):  # the second target's layer looks the other way
            layer.weight.fill_(sign)
        head.output.weight[:, 0] = 1.0  # of four equal units one is read
    others = (of_minus_1, of_1) if per_target else (of_1, of_minus_1)
    expected = [[3 + of_1, 2 + others[0]], [3 + of_minus_1, 2 + others[1]]]
    features = torch.tensor([[1.0], [-1.0]])
    torch.testing.assert_close(head(features), torch.tensor(expected))
    # The same features as each target's own.
    torch.testing.assert_close(head(features[:, None].expand(2, 2, 1)), torch.tensor(expected))


@pytest.mark.parametrize("pieces", [{}, {"bounded": True}, {"hidden": {"width": 8}}, {"hidden": {"per_target": True}}])
@pytest.mark.parametrize("num_samples", [1, 5])
def test_dropout_averages_the_scores_of_several_masks(pieces: dict[str, Any], num_samples: int) -> None:
    head = build(dropout={"p": 0.3, "num_samples": num_samples}, init="xavier", **pieces)
    plain = build(init="xavier", **pieces)
    features = features_of(6, WIDTH)
    torch.manual_seed(5)
    found = head(features)
    torch.manual_seed(5)
    expected = sum(plain(F.dropout(features, 0.3)) for _ in range(num_samples)) / num_samples
    torch.testing.assert_close(found, expected)
    assert not torch.equal(head(features), found)  # other masks each time
    popular = F.dropout(features, 0.3)  # its default is to drop when scoring, too
    assert not torch.equal(plain.eval()(popular), head.eval()(features))


def test_behind_dropout_a_feature_is_gone_or_grown() -> None:
    dropout = MultiSampleDropout(DropoutConfig(p=0.25, num_samples=1))
    torch.manual_seed(0)
    values, counts = dropout(torch.ones(1, 20_000), lambda features: features, lambda samples: samples[0]).unique(
        return_counts=True
    )
    assert values.tolist() == pytest.approx([0.0, 1 / 0.75])
    assert (counts / counts.sum()).tolist() == pytest.approx([0.25, 0.75], abs=0.01)


def test_more_samples_of_a_linear_map_scatter_less() -> None:
    features = features_of(1, WIDTH)
    deviations = []
    for num_samples in (1, 16):
        head = build(dropout={"p": 0.5, "num_samples": num_samples}, init="xavier")
        deviations.append(torch.stack([head(features) for _ in range(400)]).std(dim=0))
    torch.testing.assert_close(deviations[0] / deviations[1], torch.full((1, 2), 4.0), rtol=0.15, atol=0)


@pytest.mark.parametrize(
    ("mean", "offset", "score"),
    [
        (3.0, 0.0, 3.0),
        (3.0, LN3, 4.0),  # odds 1 become 3: three quarters of the way from 1 to 5
        (3.0, -LN3, 2.0),
        (2.0, 0.0, 2.0),  # odds 1/3
        (2.0, LN3, 3.0),
        (2.0, 2 * LN3, 4.0),
        (1.0, 0.0, 1.04),  # on a bound: a hundredth inside
        (5.0, 0.0, 4.96),
        (1.0, math.log(99.0), 3.0),
    ],
)
def test_bounded_scores_by_hand(mean: float, offset: float, score: float) -> None:
    found = bounded_scores(mean_logits(torch.tensor([mean]), FB3) + torch.tensor([[offset]]), FB3)
    assert found.item() == pytest.approx(score, abs=1e-5)


def test_a_mean_on_a_bound_can_still_be_left() -> None:
    head = build(means_C=(1.0, 5.0), bounded=True, init="zeros")
    score_BC = head(features_of(3, WIDTH))
    score_BC.sum().backward()
    assert score_BC.isfinite().all()
    assert head.output.bias.grad is not None
    # Three essays, each with the sigmoid's slope where it is .01 or .99, over a range of 4.
    assert head.output.bias.grad.tolist() == pytest.approx([3 * 4 * 0.01 * 0.99] * 2, rel=1e-4)
    popular = torch.logit((torch.tensor([1.0, 5.0]) - 1.0) / 4.0)
    assert popular.isinf().all()


@given(mean=st.floats(1, 5, width=32), offset=st.floats(-10, 10, width=32), more=st.floats(0.125, 2, width=32))
def test_bounded_scores_stay_strictly_inside_and_in_order(mean: float, offset: float, more: float) -> None:
    offsets = torch.tensor([[offset], [offset + more]])
    below, above = bounded_scores(mean_logits(torch.tensor([mean]), FB3) + offsets, FB3).flatten().tolist()
    assert 1.0 < below < 5.0
    assert 1.0 < above < 5.0
    assert below <= above


def test_with_bce_a_bounded_head_has_the_cross_entropy_of_its_logits() -> None:
    head = build(bounded=True, init="xavier")
    features, label_BC = features_of(6, WIDTH), torch.tensor([[2.0, 4.0]] * 6)
    logit_BC = torch.tensor([0.0, -LN3]) + head.output(features)
    expected = F.binary_cross_entropy_with_logits(logit_BC, (label_BC - 1) / 4)
    torch.testing.assert_close(bce_of(head, features, label_BC), expected)


def bce_of(head: Head, features: Tensor, label_BC: Tensor) -> Tensor:
    """The loss as a training computes it."""
    loss = Loss(LossConfig.model_validate({"criterion": {"name": "bce"}}), ("a", "b"), FB3)
    output_BC = head.outputs(features)
    mean: Tensor = loss(head.scores(output_BC), label_BC, len(features), head.logits(output_BC))
    return mean


@pytest.mark.parametrize("dropout", [None, {"p": 0.01, "num_samples": 5}])
@pytest.mark.parametrize(
    # Label, logit, and the entropy's slope there: p − y.
    ("label", "logit", "slope"),
    [
        (1.0, 8.0, 0.9996646),
        (3.0, -8.0, -0.4996646),
        (5.0, -5.0, -0.9933071),
        (1.0, 20.0, 1.0),
        (5.0, -20.0, -1.0),
        (1.0, -5.0, 0.0066929),
        (5.0, 5.0, -0.0066929),
        (5.0, -200.0, -1.0),
    ],
)
def test_with_bce_a_saturated_bounded_head_learns_as_fast_as_its_logit_is_wrong(
    label: float, logit: float, slope: float, dropout: dict[str, Any] | None
) -> None:
    head = build(means_C=(3.0, 3.0), bounded=True, init="zeros", dropout=dropout)
    with torch.no_grad():
        head.output.bias.fill_(logit)
    bce_of(head, features_of(4, WIDTH), torch.full((4, 2), label)).backward()
    assert head.output.bias.grad is not None
    assert head.output.bias.grad.tolist() == pytest.approx([slope / 2] * 2, rel=1e-4)  # the mean over two targets


def test_the_logit_of_a_mean_is_exact_where_float32_has_rounded_every_score() -> None:
    logit_SBC = torch.tensor([[[0.5, 19.0, -30.0, 20.0, -120.0]], [[-1.0, 20.0, -28.0, -20.0, -121.0]]])
    share_BC = logit_SBC.double().sigmoid().mean(dim=0)
    expected = share_BC.log() - (-logit_SBC.double()).sigmoid().mean(dim=0).log()
    torch.testing.assert_close(logit_of_mean(logit_SBC), expected.float(), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(logit_of_mean(logit_SBC[:1]), logit_SBC[0], rtol=1e-6, atol=1e-6)
