"""The gradient of one window of essays, and the optimiser step that it makes."""

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ell_tune.trainable import FoldData
from trainables.regressor.batches import pad, to_device
from trainables.regressor.losses import Loss
from trainables.regressor.model import Regressor
from trainables.regressor.precision import Precision


def set_training_mode(model: Regressor) -> None:
    """Training mode, except for wholly frozen parts: dropout in what cannot adapt to it is only noise."""
    model.train()
    for module in model.modules():
        parameters = list(module.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            module.eval()


def accumulate_gradients(
    model: Regressor,
    micro_batches: list[NDArray[np.int64]],
    fold_data: FoldData,
    loss: Loss,
    precision: Precision,
    scaler: torch.amp.GradScaler,
) -> tuple[Tensor, int]:
    """Adds up the gradient of the mean loss of one window (all its micro-batches); that loss, and its tokens.

    The gradient is that of one large batch, also where the window is a short last one or does not divide evenly,
    and where the loss is no sum over essays. Nothing here waits for the device.
    """
    window = _Window(model, fold_data, precision)
    if loss.couples_essays and len(micro_batches) > 1:
        window_loss = _backward_in_two_passes(window, micro_batches, loss, scaler)
    else:
        window_loss = _backward(window, micro_batches, loss, scaler)
    return window_loss, int(fold_data.prepared.lengths[np.concatenate(micro_batches)].sum())


class _Window:
    """Scores and labels of a window's essays."""

    def __init__(self, model: Regressor, fold_data: FoldData, precision: Precision) -> None:
        self.device = model.target_means_C.device
        self._model, self._fold_data, self._precision = model, fold_data, precision

    def scores(self, rows: NDArray[np.int64]) -> Tensor:
        tokens_BT, mask_BT = pad(self._fold_data.prepared, rows, self.device)
        with self._precision.autocast():
            score_BC: Tensor = self._model(tokens_BT, mask_BT)
        return score_BC

    def labels(self, rows: NDArray[np.int64]) -> Tensor:
        return to_device(torch.from_numpy(self._fold_data.labels_NC[rows]), self.device)


def _backward(
    window: _Window, micro_batches: list[NDArray[np.int64]], loss: Loss, scaler: torch.amp.GradScaler
) -> Tensor:
    """Each micro-batch adds its share of the window's loss."""
    num_essays = sum(map(len, micro_batches))
    window_loss = torch.zeros((), device=window.device)
    for rows in micro_batches:
        share = loss(window.scores(rows), window.labels(rows), num_essays)
        scaler.scale(share).backward()
        window_loss += share.detach()
    return window_loss


def _backward_in_two_passes(
    window: _Window, micro_batches: list[NDArray[np.int64]], loss: Loss, scaler: torch.amp.GradScaler
) -> Tensor:
    """First all scores without their graph, for the loss's gradient by score; then each micro-batch again, from it.

    Exact for any loss of the window's scores, for one more forward pass (Gao et al., 2021, Scaling Deep Contrastive
    Learning Batch Size under Memory Limited Setup). Both passes draw the same dropout.
    """
    rows_W = np.concatenate(micro_batches)
    gpus = [window.device] if window.device.type == "cuda" else []
    with torch.random.fork_rng(gpus), torch.no_grad():
        score_WC = torch.cat([window.scores(rows) for rows in micro_batches])
    score_WC.requires_grad_()
    window_loss: Tensor = loss(score_WC, window.labels(rows_W), len(rows_W))
    scaler.scale(window_loss).backward()
    assert score_WC.grad is not None
    for rows, gradient_BC in zip(micro_batches, score_WC.grad.split(list(map(len, micro_batches))), strict=True):
        window.scores(rows).backward(gradient_BC)
    return window_loss.detach()


def apply_gradients(
    parameters: Iterable[nn.Parameter],
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    clip_norm: float | None,
) -> None:
    """One optimiser step with the gradients of all parameters, which it clears.

    Gradients are unscaled before they are clipped: a norm is only meaningful in their true unit.
    """
    if clip_norm is not None:
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(parameters, clip_norm)
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad(set_to_none=True)
