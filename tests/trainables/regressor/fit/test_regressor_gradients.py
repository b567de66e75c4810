"""Gradient accumulation, clipping and mixed precision."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ell_tune.trainable import FoldData
from trainables.regressor import Config
from trainables.regressor.building import build_regressor
from trainables.regressor.encoder.precision import Precision
from trainables.regressor.encoder.reader import EssayReader
from trainables.regressor.essays.batches import pad
from trainables.regressor.fit.gradients import accumulate_gradients, apply_gradients
from trainables.regressor.losses import Loss
from trainables.regressor.model import Regressor

CPU = torch.device("cpu")


def gradients(
    config: Config,
    fold_data: FoldData,
    micro_batches: list[NDArray[np.int64]],
    precision: str = "fp32",
    scale: float = 1.0,
) -> tuple[dict[str, Tensor], float, int]:
    """The gradients (of the loss's parameters too), the loss and the number of tokens of one window."""
    model = build_regressor(config, fold_data.prepared, torch.full((2,), 3.0), (1.0, 5.0), seed=0).train()
    loss = Loss(config.loss, fold_data.targets, fold_data.score_range)
    chosen = Precision(precision, CPU)  # type: ignore[arg-type]
    window_loss, num_tokens = accumulate_gradients(
        model,
        EssayReader(fold_data.prepared, CPU),
        micro_batches,
        fold_data,
        loss,
        chosen,
        torch.amp.GradScaler("cpu", init_scale=scale),
    )
    parameters = dict(model.named_parameters()) | dict(loss.named_parameters())
    found = {name: p.grad / scale for name, p in parameters.items() if p.grad is not None}
    return found, window_loss.item(), num_tokens


@pytest.mark.parametrize("sizes", [[8], [4, 4], [3, 3, 2], [1] * 8, [5, 2]], ids=str)
@pytest.mark.parametrize(
    "sections",
    [
        {},
        {"loss": {"target_weights": {"reasons": 1.0, "praise": 3.0}, "uncertainty": {}}},
        {"loss": {"criterion": {"name": "rmse"}}},
        {"loss": {"agreement": {"name": "pearson"}, "uncertainty": {}}},
        {"loss": {"criterion": {"name": "bce"}}, "head": {"bounded": True}},
        {"loss": {"criterion": {"name": "bce"}, "agreement": {"name": "ranking"}}, "head": {"bounded": True}},
    ],
    ids=str,
)
def test_accumulation_is_one_large_batch(
    make_config: Callable[..., Config],
    make_fold_data: Callable[..., FoldData],
    sizes: list[int],
    sections: dict[str, Any],
) -> None:
    config = make_config(**sections)
    fold_data = make_fold_data(config)
    rows = np.arange(sum(sizes))
    pieces = np.split(rows, np.cumsum(sizes)[:-1])
    whole, whole_loss, num_tokens = gradients(config, fold_data, [rows])
    summed, summed_loss_value, _ = gradients(config, fold_data, pieces)
    assert whole.keys() == summed.keys()
    for name, gradient in whole.items():
        torch.testing.assert_close(summed[name], gradient, rtol=1e-4, atol=1e-6)
    assert summed_loss_value == pytest.approx(whole_loss, rel=1e-6)
    assert num_tokens == fold_data.prepared["first"].lengths[rows].sum()


@pytest.mark.parametrize("sizes", [[8], [3, 3, 2]], ids=str)
@pytest.mark.parametrize("agreement", ["off", {"name": "pearson", "weight": 0.001}])
def test_a_saturated_bounded_head_gets_the_gradient_of_its_logits(
    make_config: Callable[..., Config],
    make_fold_data: Callable[..., FoldData],
    monkeypatch: pytest.MonkeyPatch,
    sizes: list[int],
    agreement: Any,
) -> None:
    config = make_config(
        loss={"criterion": {"name": "bce"}, "agreement": agreement}, head={"bounded": True, "init": "zeros"}
    )
    fold_data = make_fold_data(config)
    draw = Regressor.__init__

    def saturated(model: Regressor, *arguments: Any) -> None:
        draw(model, *arguments)
        model.head.output.bias.data.fill_(18.0)  # float32 rounds every score to 5

    monkeypatch.setattr(Regressor, "__init__", saturated)
    rows = np.arange(8)
    found, loss, _ = gradients(config, fold_data, np.split(rows, np.cumsum(sizes)[:-1]))
    label_share_BC = (fold_data.labels_NC[rows] - 1) / 4
    assert loss == pytest.approx(18 * (1 - label_share_BC).mean(), rel=1e-3)
    assert found["head.output.bias"].tolist() == pytest.approx((1 - label_share_BC).mean(axis=0) / 2, rel=1e-5)


def test_the_loss_is_the_mean_over_essays_and_targets(
    make_config: Callable[..., Config], make_fold_data: Callable[..., FoldData]
) -> None:
    config = make_config(loss={"criterion": {"name": "smooth_l1", "beta": 0.5}})
    fold_data = make_fold_data(config)
    # Unequal micro-batches and scores far from 3, on both sides of beta.
    _, loss, _ = gradients(config, fold_data, [np.arange(5), np.array([9])])
    model = build_regressor(config, fold_data.prepared, torch.full((2,), 3.0), (1.0, 5.0), seed=0).eval()
    scores = torch.cat(
        [model({"first": pad(fold_data.prepared["first"], np.array([row]), CPU)}) for row in [0, 1, 2, 3, 4, 9]]
    )
    error = (scores - torch.from_numpy(fold_data.labels_NC[[0, 1, 2, 3, 4, 9]])).abs()
    expected = torch.where(error < 0.5, error**2 / (2 * 0.5), error - 0.25).mean()
    assert loss == pytest.approx(expected.item(), rel=1e-5)


def test_both_passes_draw_the_same_dropout_and_no_other_than_one_pass(
    make_config: Callable[..., Config], make_fold_data: Callable[..., FoldData]
) -> None:
    config = make_config(backbone={"dropout": 0.3}, loss={"criterion": {"name": "rmse"}})
    fold_data = make_fold_data(config)
    rows = np.arange(6)
    pieces = [rows[:2], rows[2:]]
    found, loss_value, _ = gradients(config, fold_data, pieces, scale=64.0)
    drawn_after = torch.rand(1)
    # By hand: one graph over both micro-batches, whose dropout is drawn once.
    model = build_regressor(config, fold_data.prepared, torch.full((2,), 3.0), (1.0, 5.0), seed=0).train()
    scores = torch.cat([model({"first": pad(fold_data.prepared["first"], piece, CPU)}) for piece in pieces])
    assert torch.equal(torch.rand(1), drawn_after)
    error_BC = scores - torch.from_numpy(fold_data.labels_NC[rows])
    loss = error_BC.square().mean(dim=0).sqrt().mean()
    loss.backward()
    assert loss_value == pytest.approx(loss.item(), rel=1e-6)
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, model.get_parameter(name).grad, rtol=1e-4, atol=1e-7)


def test_bf16_gradients_are_near_those_of_fp32(
    make_config: Callable[..., Config], make_fold_data: Callable[..., FoldData]
) -> None:
    config = make_config()
    fold_data = make_fold_data(config)
    exact, exact_loss, _ = gradients(config, fold_data, [np.arange(8)])
    half, half_loss, _ = gradients(config, fold_data, [np.arange(8)], "bf16")
    assert half_loss == pytest.approx(exact_loss, rel=0.02)
    name = "encoders.first.backbone.encoder.layer.0.output.dense.weight"
    assert half[name].dtype == torch.float32
    assert not torch.equal(half[name], exact[name])
    assert nn.functional.cosine_similarity(half[name].flatten(), exact[name].flatten(), dim=0) > 0.98


def step_on(gradient: list[float], clip_norm: float | None, scale: float | None) -> list[float]:
    """A weight of [0, 0] after one SGD step at rate 1 on a gradient, scaled as a scaler would."""
    layer = nn.Linear(2, 1, bias=False)
    nn.init.zeros_(layer.weight)
    optimizer = torch.optim.SGD(layer.parameters(), lr=1.0)
    scaler = torch.amp.GradScaler("cpu", init_scale=scale or 1.0, enabled=scale is not None)
    loss = layer(torch.tensor([gradient])).sum()
    scaler.scale(loss).backward()
    apply_gradients(layer.parameters(), optimizer, scaler, clip_norm)
    assert layer.weight.grad is None
    weight: list[float] = layer.weight.flatten().tolist()
    return weight


@pytest.mark.parametrize("scale", [None, 1024.0])
@pytest.mark.parametrize(("clip_norm", "expected"), [(None, [-3.0, -4.0]), (10.0, [-3.0, -4.0]), (1.0, [-0.6, -0.8])])
def test_clipping_is_in_the_gradients_true_unit(
    scale: float | None, clip_norm: float | None, expected: list[float]
) -> None:
    assert step_on([3.0, 4.0], clip_norm, scale) == pytest.approx(expected, rel=1e-5)


def test_clipping_what_is_still_scaled_would_shrink_the_step() -> None:
    layer = nn.Linear(2, 1, bias=False)
    nn.init.zeros_(layer.weight)
    optimizer = torch.optim.SGD(layer.parameters(), lr=1.0)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    scaler.scale(layer(torch.tensor([[3.0, 4.0]])).sum()).backward()
    nn.utils.clip_grad_norm_(layer.parameters(), 1.0)  # the bug: no scaler.unscale_ before it
    scaler.step(optimizer)
    assert layer.weight.tolist()[0] == pytest.approx([-0.6 / 1024, -0.8 / 1024])


@pytest.mark.parametrize("clip_norm", [None, 1.0])
def test_a_scaler_skips_a_step_that_overflowed(clip_norm: float | None) -> None:
    assert step_on([float("inf"), 1.0], clip_norm, scale=8.0) == [0.0, 0.0]


@pytest.mark.parametrize(
    ("name", "on_cpu", "dtype", "scales"),
    [
        ("auto", "fp32", torch.float32, False),
        ("fp32", "fp32", torch.float32, False),
        ("bf16", "bf16", torch.bfloat16, False),
        ("fp16", "fp16", torch.float16, True),
    ],
)
def test_precisions(name: str, on_cpu: str, dtype: torch.dtype, scales: bool) -> None:
    precision = Precision(name, CPU)  # type: ignore[arg-type]
    assert precision.name == on_cpu
    with precision.autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype
    assert precision.make_scaler().is_enabled() == scales
