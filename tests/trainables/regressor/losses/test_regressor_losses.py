"""The criteria, target weights, uncertainties and agreement terms, each against numbers by hand."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from ell_tune.config import validate
from ell_tune.errors import BadConfig
from trainables.regressor.losses import Loss, LossConfig, check_batch_size

FB3 = (1.0, 5.0)
# Errors of -0.5, 2; 0, 1: the first column has 0.5 and 0, the second 2 and 1.
SCORE_BC = torch.tensor([[3.0, 5.0], [2.0, 3.0]])
LABEL_BC = torch.tensor([[3.5, 3.0], [2.0, 2.0]])
CRITERIA = ["smooth_l1", "huber", "mse", "l1", "rmse", "bce"]
VARIANTS: list[dict[str, Any]] = [
    *({"criterion": {"name": name}} for name in CRITERIA),
    {"agreement": {"name": "pearson"}},
    {"agreement": {"name": "ranking"}},
    {"uncertainty": {}},
    {"target_weights": {"a": 1.0, "b": 3.0}},
    {
        "criterion": {"name": "rmse"},
        "uncertainty": {},
        "target_weights": {"a": 1.0, "b": 3.0},
        "agreement": {"name": "ranking"},
    },
]


def make_loss(**fields: Any) -> Loss:
    return Loss(validate(LossConfig, fields), ("a", "b"), FB3)


def value(score_BC: Tensor = SCORE_BC, label_BC: Tensor = LABEL_BC, **fields: Any) -> float:
    loss: Tensor = make_loss(**fields)(score_BC, label_BC, len(score_BC))
    return loss.item()


@pytest.mark.parametrize(
    ("criterion", "expected"),
    [
        ({"name": "smooth_l1"}, (0.125 + 1.5 + 0.0 + 0.5) / 4),
        ({"name": "smooth_l1", "beta": 0.5}, (0.25 + 1.75 + 0.0 + 0.75) / 4),
        ({"name": "huber", "delta": 0.5}, (0.125 + 0.875 + 0.0 + 0.375) / 4),
        ({"name": "mse"}, (0.25 + 4.0 + 0.0 + 1.0) / 4),
        ({"name": "l1"}, (0.5 + 2.0 + 0.0 + 1.0) / 4),
        ({"name": "rmse"}, (0.125**0.5 + 2.5**0.5) / 2),
    ],
)
def test_criteria_by_hand(criterion: dict[str, Any], expected: float) -> None:
    assert value(criterion=criterion) == pytest.approx(expected, rel=1e-6)


def test_the_default_is_torchs_smooth_l1_to_the_bit() -> None:
    torch.manual_seed(0)
    score_BC, label_BC = 3 + torch.randn(7, 6), 3 + torch.randn(7, 6)
    ours, theirs = (score_BC.clone().requires_grad_() for _ in range(2))
    loss = Loss(LossConfig(), tuple("abcdef"), FB3)(ours, label_BC, 7)
    expected = F.smooth_l1_loss(theirs, label_BC, reduction="sum") / 42
    loss.backward()
    expected.backward()
    assert torch.equal(loss, expected)
    assert ours.grad is not None and theirs.grad is not None
    assert torch.equal(ours.grad, theirs.grad)


@pytest.mark.parametrize("fields", VARIANTS, ids=str)
def test_every_loss_reaches_every_score_and_every_parameter(fields: dict[str, Any]) -> None:
    # torch.tensor([losses]).mean() has the same value, but no gradient.
    loss = make_loss(**fields)
    score_BC = torch.tensor([[3.0, 4.5], [2.5, 3.0], [2.0, 4.0]], requires_grad=True)
    loss(score_BC, torch.tensor([[3.5, 3.0], [2.0, 2.5], [4.0, 1.0]]), 3).backward()
    assert score_BC.grad is not None
    assert score_BC.grad.isfinite().all() and score_BC.grad.ne(0).all()
    assert all(parameter.grad is not None and parameter.grad.ne(0).all() for parameter in loss.parameters())


@pytest.mark.parametrize("fields", VARIANTS, ids=str)
def test_labels_keep_their_half_points(fields: dict[str, Any]) -> None:
    # Cast to integers, labels of 3.5 would be 3.
    score_BC, label_BC = SCORE_BC - 0.25, LABEL_BC + 0.5
    assert value(score_BC, label_BC, **fields) != pytest.approx(value(score_BC, label_BC.long().float(), **fields))


@pytest.mark.parametrize("fields", [fields for fields in VARIANTS if not make_loss(**fields).couples_essays], ids=str)
def test_shares_add_up_to_the_windows_loss(fields: dict[str, Any]) -> None:
    loss = make_loss(**fields)
    with torch.no_grad():
        for parameter in loss.parameters():
            parameter.add_(torch.tensor([0.3, -0.2]))
    whole = loss(SCORE_BC, LABEL_BC, 2)
    shares = [loss(SCORE_BC[i : i + 1], LABEL_BC[i : i + 1], 2) for i in range(2)]
    torch.testing.assert_close(shares[0] + shares[1], whole)


@pytest.mark.parametrize("fields", [fields for fields in VARIANTS if make_loss(**fields).couples_essays], ids=str)
def test_coupled_essays_do_not_add_up(fields: dict[str, Any]) -> None:
    # The reason for the second pass over micro-batches: the sum of their losses is another loss.
    whole = value(**fields)
    parts = [value(SCORE_BC[i : i + 1], LABEL_BC[i : i + 1], **fields) for i in range(2)]
    assert sum(parts) / 2 != pytest.approx(whole, rel=1e-2)


def test_target_weights_by_hand() -> None:
    # Of mean 1: weights of 1 and 3 are 0.5 and 1.5, in the order of the targets.
    expected = (0.5 * (0.25 + 0.0) + 1.5 * (4.0 + 1.0)) / 4
    for weights in ({"a": 1.0, "b": 3.0}, {"b": 0.6, "a": 0.2}):
        assert value(criterion={"name": "mse"}, target_weights=weights) == pytest.approx(expected)
    assert value(criterion={"name": "mse"}, target_weights={"a": 2.0, "b": 2.0}) == value(criterion={"name": "mse"})
    only_b = value(criterion={"name": "rmse"}, target_weights={"a": 0.0, "b": 1.0})
    assert only_b == pytest.approx(2.5**0.5)


@pytest.mark.parametrize("weights", [{"a": 1.0}, {"a": 1.0, "b": 1.0, "c": 1.0}, {"a": 1.0, "B": 1.0}])
def test_weights_for_other_targets_are_refused(weights: dict[str, float]) -> None:
    with pytest.raises(BadConfig, match=f"loss.target_weights: .* targets a, b .* weights for {', '.join(weights)}"):
        make_loss(target_weights=weights)


@pytest.mark.parametrize("weights", [{}, {"a": 0.0, "b": 0.0}, {"a": -1.0, "b": 1.0}])
def test_weights_that_are_none(weights: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="target_weights"):
        validate(LossConfig, {"target_weights": weights})


def test_uncertainty_by_hand() -> None:
    loss = make_loss(criterion={"name": "mse"}, uncertainty={})
    # Log-variances start at 0: half the criterion.
    assert loss(SCORE_BC, LABEL_BC, 2).item() == pytest.approx(0.5 * 5.25 / 4)
    assert loss.log_variance_C is not None
    with torch.no_grad():
        loss.log_variance_C.copy_(torch.tensor([0.125, 2.5]).log())
    # At its best, exp(s) is the target's mean squared error: (1 + s) / 2 is left, and the slope is 0.
    found = loss(SCORE_BC, LABEL_BC, 2)
    found.backward()
    expected = sum(0.5 * (1.0 + torch.tensor(error).log().item()) for error in (0.125, 2.5)) / 2
    assert found.item() == pytest.approx(expected)
    assert loss.log_variance_C.grad is not None
    assert loss.log_variance_C.grad.tolist() == pytest.approx([0.0, 0.0], abs=1e-7)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
@pytest.mark.parametrize("label", [1.0, 1.5, 3.0, 4.96, 5.0])
def test_bce_of_a_bounded_head_is_the_cross_entropy_with_its_logits(
    label: float, dtype: torch.dtype, tolerance: float
) -> None:
    logit_B1 = torch.linspace(-20, 20, 81, dtype=torch.float64).unsqueeze(1)
    ours, theirs = logit_B1.to(dtype, copy=True).requires_grad_(), logit_B1.clone().requires_grad_()
    label_B1 = torch.full_like(logit_B1, label)
    loss = Loss(validate(LossConfig, {"criterion": {"name": "bce"}}), ("a",), FB3)
    found = loss(1 + 4 * ours.sigmoid(), label_B1.to(dtype), 81, ours)
    expected = F.binary_cross_entropy_with_logits(theirs, (label_B1 - 1) / 4)
    assert found.item() == pytest.approx(expected.item(), rel=tolerance)
    found.backward()
    expected.backward()
    assert ours.grad is not None and theirs.grad is not None
    torch.testing.assert_close(81 * ours.grad.double(), 81 * theirs.grad, rtol=0, atol=tolerance)


@given(st.floats(-4.5, 4.5), st.floats(1.04, 4.96))
def test_bce_of_another_heads_score_is_the_cross_entropy_within_a_hundredth_of_the_ends(
    logit: float, label: float
) -> None:
    logit_11, label_11 = (torch.tensor([[number]], dtype=torch.float64) for number in (logit, label))
    config = validate(LossConfig, {"criterion": {"name": "bce"}})
    found = Loss(config, ("a",), FB3)(1 + 4 * logit_11.sigmoid(), label_11, 1)
    expected = F.binary_cross_entropy_with_logits(logit_11, (label_11 - 1) / 4)
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)


@given(st.floats(-20.0, 20.0), st.floats(1.0, 5.0))
def test_bce_pulls_every_score_towards_its_label(score: float, label: float) -> None:
    score_11 = torch.tensor([[score]], requires_grad=True)
    loss = Loss(validate(LossConfig, {"criterion": {"name": "bce"}}), ("a",), FB3)(score_11, torch.tensor([[label]]), 1)
    loss.backward()
    assert score_11.grad is not None and loss.isfinite()
    slope = score_11.grad.item()
    assert abs(slope) <= 0.25 / 0.01
    if score > label + 0.05:
        assert slope >= 0  # 0 only where both are at the same end
        assert slope > 0 or label > 4.96 - 1e-6
    if score < label - 0.05:
        assert slope <= 0
        assert slope < 0 or label < 1.04 + 1e-6


def test_a_bce_that_clamps_would_leave_a_score_outside_the_range_there() -> None:
    clamped, ours = (torch.tensor([[0.5, 5.5]], requires_grad=True) for _ in range(2))
    share = ((clamped - 1) / 4).clamp(1e-6, 1 - 1e-6)
    F.binary_cross_entropy(share, torch.tensor([[0.5, 0.5]])).backward()
    make_loss(criterion={"name": "bce"})(ours, torch.tensor([[3.0, 3.0]]), 1).backward()
    assert clamped.grad is not None and clamped.grad.tolist() == [[0.0, 0.0]]
    assert ours.grad is not None
    slope = (0.01 - 0.5) / (0.01 * 0.99) / 4 / 2  # of the tangent in a hundredth of the range; mean over two targets
    assert ours.grad[0].tolist() == pytest.approx([slope, -slope], rel=1e-5)


def test_pearson_by_hand() -> None:
    score_BC = torch.tensor([[1.0, 3.0], [2.0, 2.0], [3.0, 1.0]])
    label_BC = torch.tensor([[2.0, 2.0], [3.0, 3.0], [4.0, 4.0]])
    agreement = {"name": "pearson", "weight": 0.3}
    added = value(score_BC, label_BC, agreement=agreement) - value(score_BC, label_BC)
    assert added == pytest.approx(0.3 * (0.0 + 2.0) / 2, abs=1e-5)  # correlations of 1 and -1


def test_ranking_by_hand() -> None:
    score_BC = torch.tensor([[1.0, 3.0], [2.0, 3.0], [3.0, 3.0]])
    label_BC = torch.tensor([[2.0, 2.0], [3.0, 2.0], [3.0, 2.0]])
    # Two pairs in the first target, of leads 1 and 2; none in the second.
    expected = F.softplus(torch.tensor([-1.0, -2.0])).mean().item() / 2
    agreement = {"name": "ranking", "weight": 2.0}
    added = value(score_BC, label_BC, agreement=agreement) - value(score_BC, label_BC)
    assert added == pytest.approx(2.0 * expected, rel=1e-5)


def pearson_slope(score_B: Tensor, label_B: Tensor) -> Tensor:
    """The gradient of 1 − r by score, by hand."""
    score_B, label_B = score_B - score_B.mean(), label_B - label_B.mean()
    r = (score_B @ label_B) / (score_B.norm() * label_B.norm())
    return (r * score_B / score_B.norm() - label_B / label_B.norm()) / score_B.norm()


def ranking_slope(score_B: Tensor, label_B: Tensor) -> Tensor:
    """The gradient of the mean of log(1 + exp(−lead)) over pairs, by hand: both essays of a pair are pushed apart."""
    slope_B, num_pairs = torch.zeros_like(score_B), 0
    for better in range(len(score_B)):
        for worse in range(len(score_B)):
            if label_B[better] > label_B[worse]:
                push = 1 / (1 + torch.exp(score_B[better] - score_B[worse]))
                slope_B[better] -= push
                slope_B[worse] += push
                num_pairs += 1
    return slope_B / num_pairs


@pytest.mark.parametrize(("name", "slope"), [("pearson", pearson_slope), ("ranking", ranking_slope)])
@pytest.mark.parametrize("criterion", [{"name": "mse"}, {"name": "rmse"}])
def test_an_agreement_term_adds_its_own_gradient(
    criterion: dict[str, Any], name: str, slope: Callable[[Tensor, Tensor], Tensor]
) -> None:
    # Of a term computed from detached scores, the value is the same, and nothing is learned.
    score_BC = torch.tensor([[3.0, 4.5], [2.5, 3.0], [2.0, 4.0], [3.5, 2.0]], dtype=torch.float64)
    label_BC = torch.tensor([[3.5, 3.0], [2.0, 2.5], [4.0, 1.0], [2.0, 2.5]], dtype=torch.float64)
    weights = {"a": 1.0, "b": 3.0}
    plain, whole = score_BC.clone().requires_grad_(), score_BC.clone().requires_grad_()
    make_loss(criterion=criterion, target_weights=weights)(plain, label_BC, 4).backward()
    agreement = {"name": name, "weight": 0.3}
    make_loss(criterion=criterion, target_weights=weights, agreement=agreement)(whole, label_BC, 4).backward()
    assert plain.grad is not None and whole.grad is not None
    slope_BC = torch.stack([slope(score_BC[:, c], label_BC[:, c]) for c in range(2)], dim=1)
    expected = 0.3 * slope_BC * torch.tensor([0.5, 1.5], dtype=torch.float64) / 2
    torch.testing.assert_close(whole.grad - plain.grad, expected, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("name", ["pearson", "ranking"])
@pytest.mark.parametrize("labels", [[2.0, 2.0], [2.0, 3.0]])
def test_equal_scores_have_a_finite_gradient(name: str, labels: list[float]) -> None:
    score_BC = torch.full((2, 2), 3.0, requires_grad=True)
    make_loss(agreement={"name": name})(score_BC, torch.tensor([labels, labels]).T, 2).backward()
    assert score_BC.grad is not None and score_BC.grad.isfinite().all()


def test_an_order_needs_two_essays() -> None:
    config = validate(LossConfig, {"agreement": {"name": "pearson"}})
    with pytest.raises(BadConfig, match="loss.agreement: .* it is pearson with training.batch_size=1"):
        check_batch_size(config, 1)
    check_batch_size(config, 2)
    check_batch_size(LossConfig(), 1)
