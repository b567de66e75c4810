"""The gradient of one window of essays, and the optimiser step that it makes."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ell_tune.trainable import FoldData
from trainables.regressor.encoder.precision import Precision
from trainables.regressor.encoder.reader import EssayReader
from trainables.regressor.essays.batches import to_device
from trainables.regressor.fit.adversarial import PerturbedLoss
from trainables.regressor.losses import Loss
from trainables.regressor.model import Regressor


def set_training_mode(model: Regressor) -> None:
    """Training mode, except for wholly frozen parts: dropout in what cannot adapt to it is only noise."""
    model.train()
    for module in model.modules():
        parameters = list(module.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            module.eval()


def accumulate_gradients(
    model: Regressor,
    reader: EssayReader,
    micro_batches: list[NDArray[np.int64]],
    fold_data: FoldData,
    loss: Loss,
    precision: Precision,
    scaler: torch.amp.GradScaler,
    perturbed_loss: PerturbedLoss | None = None,
) -> tuple[Tensor, int]:
    """Adds up the gradient of the mean loss of one window (all its micro-batches); that loss, and its tokens.

    The gradient is that of one large batch, also where the window is a short last one or does not divide evenly,
    and where the loss is no sum over essays. Nothing here waits for the device. The gradient of `perturbed_loss` comes
    on top; the loss returned is without it.
    """
    num_essays = sum(map(len, micro_batches))
    window = _Window(model, reader, fold_data, loss, precision, scaler, perturbed_loss, num_essays)
    if loss.couples_essays and len(micro_batches) > 1:
        window_loss = _backward_in_two_passes(window, micro_batches)
    else:
        window_loss = _backward(window, micro_batches)
    return window_loss, int(reader.lengths[np.concatenate(micro_batches)].sum())


@dataclass(frozen=True)
class _Window:
    """Outputs, losses and perturbed losses of a window's essays. An output is what the head makes a score of."""

    model: Regressor
    reader: EssayReader
    fold_data: FoldData
    loss: Loss
    precision: Precision
    scaler: torch.amp.GradScaler
    perturbed_loss: PerturbedLoss | None
    num_essays: int

    def outputs(self, rows: NDArray[np.int64]) -> Tensor:
        batches = self.reader.read(rows)
        with self.precision.autocast():
            return self.model.outputs(batches)

    def share_of_loss(self, rows: NDArray[np.int64], output_BC: Tensor) -> Tensor:
        """What these rows add to the window's loss."""
        head = self.model.head
        label_BC = to_device(torch.from_numpy(self.fold_data.labels_NC[rows]), self.reader.device)
        share: Tensor = self.loss(head.scores(output_BC), label_BC, self.num_essays, head.logits(output_BC))
        return share

    def backward_perturbed(self, rows: NDArray[np.int64], output_BC: Tensor) -> None:
        """Adds the gradient of the micro-batch's share of the perturbed loss, if there is one."""
        if self.perturbed_loss is not None:
            clean_BC = self.model.head.scores(output_BC.detach())
            extra = self.perturbed_loss(partial(self._scores, rows), clean_BC, self.scaler.scale)
            self.scaler.scale(extra / (self.num_essays * clean_BC.shape[1])).backward()

    def _scores(self, rows: NDArray[np.int64]) -> Tensor:
        return self.model.head.scores(self.outputs(rows))


def _backward(window: _Window, micro_batches: list[NDArray[np.int64]]) -> Tensor:
    """Each micro-batch adds its share of the window's loss."""
    window_loss = torch.zeros((), device=window.reader.device)
    for rows in micro_batches:
        output_BC = window.outputs(rows)
        share = window.share_of_loss(rows, output_BC)
        window.scaler.scale(share).backward()
        window.backward_perturbed(rows, output_BC)
        window_loss += share.detach()
    return window_loss


def _backward_in_two_passes(window: _Window, micro_batches: list[NDArray[np.int64]]) -> Tensor:
    """First all outputs without their graph, for the loss's gradient by output; then each micro-batch again, from it.

    Exact for any loss of the window's outputs, for one more forward pass (Gao et al., 2021, Scaling Deep Contrastive
    Learning Batch Size under Memory Limited Setup). Both passes draw the same dropout.
    """
    rows_W = np.concatenate(micro_batches)
    device = window.reader.device
    gpus = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(gpus), torch.no_grad():
        clean = [window.outputs(rows) for rows in micro_batches]
    output_WC = torch.cat(clean).requires_grad_()
    window_loss = window.share_of_loss(rows_W, output_WC)
    window.scaler.scale(window_loss).backward()
    assert output_WC.grad is not None
    gradients = output_WC.grad.split(list(map(len, micro_batches)))
    for rows, gradient_BC in zip(micro_batches, gradients, strict=True):
        window.outputs(rows).backward(gradient_BC)
    for rows, output_BC in zip(micro_batches, clean, strict=True):
        window.backward_perturbed(rows, output_BC)
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
