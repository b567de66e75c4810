"""Pre-training on pseudo-labels, before the first step of a fit."""

from functools import partial

import torch
from torch import Tensor

from ell_tune.errors import BadConfig
from ell_tune.trainable import FoldData
from trainables.regressor.config import Config
from trainables.regressor.fit.gradients import apply_gradients, set_training_mode
from trainables.regressor.fit.memory import within_memory
from trainables.regressor.fit.plan import TrainingPlan
from trainables.regressor.fit.pseudo_plan import pretraining_factor, pretraining_plan
from trainables.regressor.fit.starting import Fit
from trainables.regressor.optimization.schedule import set_learning_rates


def pretrain(config: Config, fold_data: FoldData, fit: Fit) -> None:
    """Trains a fresh fit on the fold's pseudo-labels. Nothing happens without any, or with `pseudo: off`.

    What the fine-tuning trains in its last epoch is trained; averages, adversaries, soups, evaluations and epochs of
    freezing begin with the fine-tuning. So do the optimiser's moments: those of another set of labels, at other rates,
    are no guess at the first gradients (in FB3 the two phases were two runs).

    Nothing is saved meanwhile: a fit that is killed here starts over. One that goes on from a checkpoint is past it.

    Raises:
        BadConfig: the training diverged.
    """
    state = fit.state
    if config.pseudo is None or len(fold_data.pseudo_rows) == 0 or state.step > 0:
        return
    plan = pretraining_plan(config.pseudo, config.training, fold_data.pseudo_rows, fit.reader.lengths, fold_data.seed)
    factor = pretraining_factor(config.pseudo, config.schedule, plan.num_steps)
    set_training_mode(state.model)
    total_loss = torch.zeros((), device=fit.reader.device)
    for step in range(plan.num_steps):
        set_learning_rates(state.optimizer, factor(step))
        loss, _ = within_memory(state, partial(_accumulate, fit, fold_data, plan, step))
        apply_gradients(state.parameters(), state.optimizer, state.scaler, config.optimizer.clip_norm)
        total_loss += loss
    if not torch.isfinite(total_loss):
        raise BadConfig(
            f"diverged: the loss on pseudo-labels was no longer finite by the end of {plan.num_steps} steps of "
            f"pre-training. Lower pseudo.lr_factor, optimizer.lr and optimizer.head_lr, lengthen "
            f"schedule.warmup_frac, or set optimizer.clip_norm."
        )
    state.optimizer.state.clear()


def _accumulate(
    fit: Fit, fold_data: FoldData, plan: TrainingPlan, step: int, micro_batch_size: int
) -> tuple[Tensor, int]:
    return fit.accumulation(fold_data, plan.micro_batches(step, micro_batch_size))()
