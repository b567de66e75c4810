"""What a fit is made of before its first step: model, optimiser, averages, and how essays are read for it."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from ell_tune.trainable import Checkpoints, FoldData
from trainables.regressor.averaging.averages import WeightAverages
from trainables.regressor.averaging.soup import CheckpointSoup
from trainables.regressor.building import build_regressor
from trainables.regressor.config import Config
from trainables.regressor.encoder.frozen_states import FrozenStates, open_frozen_states
from trainables.regressor.encoder.mixout import add_mixout
from trainables.regressor.encoder.precision import Precision, best_device
from trainables.regressor.encoder.reader import EssayReader, total_lengths
from trainables.regressor.encoder.reinit import trained_from_pretrained
from trainables.regressor.fit.adversarial import AccumulateGradients, SiftConfig
from trainables.regressor.fit.fit_state import FitState
from trainables.regressor.fit.gradients import accumulate_gradients
from trainables.regressor.fit.plan import TrainingPlan
from trainables.regressor.head.ridge_head import fit_head_by_ridge
from trainables.regressor.losses import Loss
from trainables.regressor.model import Regressor
from trainables.regressor.optimization.optimizers import make_optimizer
from trainables.regressor.optimization.parameter_groups import (
    ParameterRow,
    freeze_parameters,
    optimizer_groups,
    parameter_table,
)
from trainables.regressor.optimization.prior_decay import draw_back_to_start
from trainables.regressor.weights import soup_dir, start_weights


@dataclass(frozen=True)
class Fit:
    """The parts of one fit. Only `state` changes, and with it the model that `table` has the parameters of."""

    plan: TrainingPlan
    precision: Precision
    reader: EssayReader
    table: list[ParameterRow]
    state: FitState

    def accumulation(self, fold_data: FoldData, micro_batches: list[NDArray[np.int64]]) -> AccumulateGradients:
        """How the gradients of a window, in these micro-batches, are computed."""
        state = self.state
        return partial(
            accumulate_gradients,
            state.model,
            self.reader,
            micro_batches,
            fold_data,
            state.loss,
            self.precision,
            state.scaler,
        )


def start_fit(config: Config, fold_data: FoldData, checkpoints: Checkpoints) -> Fit:
    """A fit before its first step, or as its last checkpoint left it.

    Raises:
        BadConfig: the config does not fit the backbone, the targets or the number of essays; or the backbone, or a
            package or a GPU that the optimiser needs, cannot be had.
    """
    device = best_device()
    precision = Precision(config.training.precision, device)
    plan = TrainingPlan(config.training, fold_data.train_rows, total_lengths(fold_data.prepared), fold_data.seed)
    loss = Loss(config.loss, fold_data.targets, fold_data.score_range).to(device)
    means_C = torch.from_numpy(fold_data.labels_NC[fold_data.train_rows].mean(axis=0))
    model = build_regressor(config, fold_data.prepared, means_C, fold_data.score_range, fold_data.seed).to(device)
    table = parameter_table(model, loss, config)
    freeze_parameters(table, config.training.num_epochs - 1)  # what is trained in the last epoch, for all that follows
    reader = _reader(config, fold_data, precision, model)
    start_weights(checkpoints.weights_dir, config, model, fold_data.prepared)
    state = _first_state(config, checkpoints, plan, precision, model, loss, table)
    if (latest := checkpoints.latest()) is not None:
        state.read(latest)
    elif (alpha := config.head.ridge_alpha) is not None:
        rows = fold_data.train_rows
        batch_size = config.training.eval_batch_size
        fit_head_by_ridge(model, reader, rows, fold_data.labels_NC[rows], alpha, batch_size, precision)
    return Fit(plan, precision, reader, table, state)


def _first_state(
    config: Config,
    checkpoints: Checkpoints,
    plan: TrainingPlan,
    precision: Precision,
    model: Regressor,
    loss: Loss,
    table: list[ParameterRow],
) -> FitState:
    optimizer = make_optimizer(config.optimizer.algorithm, optimizer_groups(table))
    trained_names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    if config.mixout is not None:
        pretrained = {
            parameter
            for name, encoder in model.encoders.items()
            for parameter in trained_from_pretrained(encoder.backbone, config.encoders[name].reinit)
        }
        add_mixout(model, config.mixout, pretrained)
    if config.prior_decay is not None:
        draw_back_to_start(optimizer)
    soup_folder = soup_dir(checkpoints.weights_dir)
    return FitState(
        model=model,
        loss=loss,
        optimizer=optimizer,
        scaler=precision.make_scaler(),
        averages=WeightAverages(config.swa, config.ema, plan.num_steps),
        soup=CheckpointSoup(config.soup, trained_names, soup_folder) if config.soup else None,
        trained_names=trained_names,
        weights_dir=checkpoints.weights_dir,
        micro_batch_size=config.training.micro_batch_size or config.training.batch_size,
    )


def _reader(config: Config, fold_data: FoldData, precision: Precision, model: Regressor) -> EssayReader:
    kept: dict[str, FrozenStates] = {}
    for name, encoder in model.encoders.items():
        freeze, essays = config.encoders[name].freeze, fold_data.prepared[name]
        thaws = freeze.num_epochs is not None and freeze.num_epochs < config.training.num_epochs
        # SiFT perturbs embeddings on their way up, so it needs every layer; layers that thaw do not stay as they are.
        if freeze.keep_states and not thaws and not isinstance(config.adversarial, SiftConfig):
            states = open_frozen_states(encoder, essays, precision)
            if states is not None:
                kept[name] = states
    return EssayReader(fold_data.prepared, model.device, kept)
