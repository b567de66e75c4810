"""The gradient of one window of essays, and the optimiser step that it makes."""

from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ell_tune.trainable import FoldData
from trainables.regressor.adversarial import PerturbedLoss
from trainables.regressor.batches import Batch, to_device
from trainables.regressor.loss import LossConfig, summed_loss
from trainables.regressor.model import Regressor
from trainables.regressor.precision import Precision
from trainables.regressor.reader import EssayReader


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
    loss_config: LossConfig,
    precision: Precision,
    scaler: torch.amp.GradScaler,
    perturbed_loss: PerturbedLoss | None = None,
) -> tuple[Tensor, int]:
    """Adds up the gradient of the mean loss of one window (all its micro-batches); that loss, and its tokens.

    Each micro-batch's summed loss is divided by the size of the whole window: the gradient is that of one
    large batch, also where the window is a short last one or does not divide evenly. Nothing here waits for
    the device. The gradient of `perturbed_loss` comes on top; the loss returned is without it.
    """
    device = model.target_means_C.device
    num_labels = sum(map(len, micro_batches)) * fold_data.labels_NC.shape[1]
    window_loss, num_tokens = torch.zeros((), device=device), 0
    for rows in micro_batches:
        batch = reader.read(rows)
        label_BC = to_device(torch.from_numpy(fold_data.labels_NC[rows]), device)
        score_micro_batch = partial(_score, model, batch, precision)
        score_BC = score_micro_batch()
        loss = summed_loss(loss_config, score_BC, label_BC) / num_labels
        scaler.scale(loss).backward()
        if perturbed_loss is not None:
            extra = perturbed_loss(score_micro_batch, score_BC.detach(), scaler.scale) / num_labels
            scaler.scale(extra).backward()
        window_loss += loss.detach()
        num_tokens += int(reader.essays.lengths[rows].sum())
    return window_loss, num_tokens


def _score(model: Regressor, batch: Batch, precision: Precision) -> Tensor:
    with precision.autocast():
        score_BC: Tensor = model(batch)
    return score_BC


def apply_gradients(
    model: nn.Module, optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler, clip_norm: float | None
) -> None:
    """One optimiser step with the gradients at hand, which it clears.

    Gradients are unscaled before they are clipped: a norm is only meaningful in their true unit.
    """
    if clip_norm is not None:
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad(set_to_none=True)
