"""The gradient of one window of essays, and the optimiser step that it makes."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ell_tune.trainable import FoldData
from trainables.regressor.batches import to_device
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
) -> tuple[Tensor, int]:
    """Adds up the gradient of the mean loss of one window (all its micro-batches); that loss, and its tokens.

    Each micro-batch's summed loss is divided by the size of the whole window: the gradient is that of one
    large batch, also where the window is a short last one or does not divide evenly. Nothing here waits for
    the device.
    """
    device = model.target_means_C.device
    num_labels = sum(map(len, micro_batches)) * fold_data.labels_NC.shape[1]
    window_loss, num_tokens = torch.zeros((), device=device), 0
    for rows in micro_batches:
        batch = reader.read(rows)
        label_BC = to_device(torch.from_numpy(fold_data.labels_NC[rows]), device)
        with precision.autocast():
            score_BC = model(batch)
        loss = summed_loss(loss_config, score_BC, label_BC) / num_labels
        scaler.scale(loss).backward()
        window_loss += loss.detach()
        num_tokens += int(reader.essays.lengths[rows].sum())
    return window_loss, num_tokens


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
