"""One contract for every combination of a head's pieces, on features that targets share and on ones of their own."""

from itertools import product
from typing import Any

import pytest
import torch
from heads import MEANS_C, NUM_TARGETS, SCORE_RANGE, WIDTH, build, features_of
from torch import nn

HIDDEN: dict[str, dict[str, Any] | None] = {
    "linear": None,
    "hidden": {"width": 8},
    "hidden_each": {"width": 8, "activation": "tanh", "per_target": True},
}
DROPOUT: dict[str, dict[str, Any] | None] = {"": None, "dropout": {"p": 0.4, "num_samples": 3}}
INITS = ("normal", "orthogonal", "zeros")  # the others are further draws of the same kind
SHAPES = {"shared": (6, WIDTH), "own": (6, NUM_TARGETS, WIDTH)}

FORMS = {
    " ".join([hidden, dropout, "bounded" * bounded, init]).replace("  ", " "): {
        "hidden": HIDDEN[hidden],
        "dropout": DROPOUT[dropout],
        "bounded": bounded,
        "init": init,
    }
    for hidden, dropout, bounded, init in product(HIDDEN, DROPOUT, (False, True), INITS)
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
class TestContract:
    def test_shape_and_type(self, form: dict[str, Any], shape: tuple[int, ...]) -> None:
        head = build(**form)
        assert head.num_targets == NUM_TARGETS
        for mode in (True, False):
            score_BC = head.train(mode)(features_of(*shape))
            assert score_BC.shape == (6, NUM_TARGETS)
            assert score_BC.dtype == torch.float32
            assert score_BC.isfinite().all()

    def test_an_essay_is_scored_as_if_alone(self, form: dict[str, Any], shape: tuple[int, ...]) -> None:
        head, features = build(**form).eval(), features_of(*shape)
        alone = torch.cat([head(features[row : row + 1]) for row in range(6)])
        torch.testing.assert_close(head(features), alone, rtol=1e-5, atol=1e-5)
        assert head(features[:0]).shape == (0, NUM_TARGETS)

    def test_in_eval_mode_it_is_the_head_without_dropout(self, form: dict[str, Any], shape: tuple[int, ...]) -> None:
        features = features_of(*shape)
        assert torch.equal(build(**form).eval()(features), build(**form | {"dropout": None}).eval()(features))

    def test_gradient_reaches_every_parameter_and_feature(self, form: dict[str, Any], shape: tuple[int, ...]) -> None:
        head = build(**form).eval()
        features = features_of(*shape).requires_grad_()
        target_BC = head(features).detach() + torch.tensor([1.0, -0.5])
        if form["init"] == "zeros":  # nothing comes through a map of 0: after one step it is none any more
            (head(features) - target_BC).square().sum().backward()
            torch.optim.SGD(head.parameters(), lr=0.1).step()
            head.zero_grad()
        (head(features) - target_BC).square().sum().backward()
        for name, parameter in head.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.abs().max() > 1e-5, name
        assert features.grad is not None and features.grad.abs().sum(dim=-1).gt(0).all()

    def test_autocast_outside_changes_nothing(self, form: dict[str, Any], shape: tuple[int, ...]) -> None:
        head, features = build(**form).eval(), features_of(*shape)
        with torch.autocast("cpu", torch.bfloat16):
            score_BC = head(features)
        assert score_BC.dtype == torch.float32
        assert torch.equal(score_BC, head(features))

    def test_everything_that_is_drawn_is_in_the_state_dict(self, form: dict[str, Any], shape: tuple[int, ...]) -> None:
        head, other = build(**form), build(seed=1, means_C=(0.0, 0.0), **form)
        with torch.no_grad():
            for parameter in head.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        other.load_state_dict(head.state_dict())
        features = features_of(*shape)
        assert torch.equal(other.eval()(features), head.eval()(features))

    def test_zeros_start_at_the_targets_means(self, form: dict[str, Any], shape: tuple[int, ...]) -> None:
        head, features = build(**form), features_of(*shape)
        is_mean_BC = torch.isclose(head(features), torch.tensor(MEANS_C), rtol=0, atol=1e-6)
        assert is_mean_BC.all() if form["init"] == "zeros" else not is_mean_BC.any()

    def test_bounds_hold_and_only_where_they_are_asked_for(self, form: dict[str, Any], shape: tuple[int, ...]) -> None:
        head, (low, high) = build(**form), SCORE_RANGE
        with torch.no_grad():
            head.output.bias.copy_(torch.tensor([12.0, -12.0]))
        score_BC = head(features_of(*shape))
        assert bool(((low < score_BC) & (score_BC < high)).all()) == form["bounded"]
        with torch.no_grad():
            head.output.bias.mul_(1e6)
        score_BC = head(features_of(*shape))  # rounded to the bound, never beyond it
        assert bool(((low <= score_BC) & (score_BC <= high)).all()) == form["bounded"]

    def test_only_matrices_have_two_dimensions(self, form: dict[str, Any], shape: tuple[int, ...]) -> None:
        # What decays is decided by shape: a block of biases, one row for each target, would.
        dimensions = {(name.rpartition(".")[2], tensor.ndim) for name, tensor in build(**form).named_parameters()}
        assert dimensions == {("weight", 2), ("bias", 1)}


def test_every_combination_is_under_contract() -> None:
    assert len(FORMS) == 3 * 2 * 2 * 3


@pytest.mark.parametrize(
    ("hidden", "num_parameters"),
    [
        (None, 16 * 2 + 2),
        ({"width": 8}, (16 * 8 + 8) + (8 * 2 + 2)),
        ({"width": 8, "per_target": True}, 2 * (16 * 8 + 8) + (8 * 2 + 2)),
    ],
)
def test_every_map_is_registered(hidden: dict[str, Any] | None, num_parameters: int) -> None:
    head = build(hidden=hidden)
    assert sum(parameter.numel() for parameter in head.parameters()) == num_parameters

    class Popular(nn.Module):
        """One map for each target, in a list that torch does not look into: never trained."""

        def __init__(self) -> None:
            super().__init__()
            self.maps = [nn.Linear(16, 8) for _ in range(2)]

    assert list(Popular().parameters()) == []


def test_under_autocast_a_plain_linear_map_loses_digits() -> None:
    head, features = build(), features_of(6, WIDTH)
    with torch.autocast("cpu", torch.bfloat16):
        popular_BC = head.target_means_C + head.output(features)
        assert not torch.equal(head(features), popular_BC)
