"""The fit: one config on one fold with one seed, from pretrained weights to the best evaluation."""

import math
import time

import torch
from torch import Tensor

from ell_tune.errors import BadConfig
from ell_tune.metrics import rmse_per_target
from ell_tune.trainable import Checkpoints, FoldData, FoldResult, Progress, Report
from trainables.regressor.averaging import WeightAverage
from trainables.regressor.building import build_regressor
from trainables.regressor.config import Config
from trainables.regressor.fit_state import FitState
from trainables.regressor.gradients import accumulate_gradients, apply_gradients, set_training_mode
from trainables.regressor.losses import Loss, check_batch_size
from trainables.regressor.optimizers import make_optimizer
from trainables.regressor.parameter_groups import (
    ParameterRow,
    freeze_parameters,
    optimizer_groups,
    parameter_table,
)
from trainables.regressor.plan import TrainingPlan
from trainables.regressor.precision import Precision, best_device
from trainables.regressor.predicting import predict_rows
from trainables.regressor.schedule import learning_rate_factor, set_learning_rates
from trainables.regressor.weights import start_weights


def fit(config: Config, fold_data: FoldData, checkpoints: Checkpoints, report: Report) -> FoldResult:
    """Trains on the fold's training rows and scores its validation rows; see `ell_tune.trainable`.

    Bit for bit the same with the same seed on the same machine, however often it is interrupted. After each
    evaluation the state is saved and then reported; `report` need not return. A resumed fit repeats its last report.

    Raises:
        BadConfig: the training diverged, ran out of GPU memory, or the config does not fit the backbone's depth or
            the number of essays.
        UserError: the backbone cannot be had, target weights are for other targets, or the optimiser needs a package
            or a GPU that is not here.
    """
    try:
        return _fit(config, fold_data, checkpoints, report)
    except torch.cuda.OutOfMemoryError as error:
        message = str(error)
    # Raised out here, free of a traceback whose frames would keep the tensors that fill the GPU.
    raise BadConfig(
        f"out of memory: training.batch_size={config.training.batch_size} with training.micro_batch_size="
        f"{config.training.micro_batch_size} at text.max_length={config.text.max_length} does not fit the "
        f"GPU. Set a smaller training.micro_batch_size or backbone.gradient_checkpointing. ({message})"
    )


def _fit(config: Config, fold_data: FoldData, checkpoints: Checkpoints, report: Report) -> FoldResult:
    device = best_device()
    precision = Precision(config.training.precision, device)
    plan = TrainingPlan(config.training, fold_data.train_rows, fold_data.prepared.lengths, fold_data.seed)
    state, table = _first_state(config, fold_data, checkpoints, plan, precision, device)
    if (latest := checkpoints.latest()) is not None:
        state.read(latest)
        assert state.last_progress is not None
        report(state.last_progress)  # the process may have died before it was heard

    scheduled_factor = learning_rate_factor(config.schedule, plan.num_steps)
    interval = _Interval(state)
    for step in range(state.step, plan.num_steps):
        if freeze_parameters(table, plan.epoch(step)):
            set_training_mode(state.model)
        factor = scheduled_factor(step)
        if state.average is not None:
            factor = state.average.learning_rate_factor(step, factor)
        set_learning_rates(state.optimizer, factor)

        loss, num_tokens = accumulate_gradients(
            state.model, plan.micro_batches(step), fold_data, state.loss, precision, state.scaler
        )
        apply_gradients(state.parameters(), state.optimizer, state.scaler, config.optimizer.clip_norm)
        if state.average is not None:
            state.average.update(state.model, step)
        state.step = step + 1
        interval.add(loss, num_tokens)

        if (evaluation := plan.evaluation_after(step)) is not None:
            metrics = interval.metrics() | {"lr": factor * config.optimizer.lr}
            score, scores = _evaluate(config, fold_data, precision, state)
            state.last_progress = Progress(evaluation, config.training.evaluations, score, metrics | scores)
            checkpoints.save(state.write)
            report(state.last_progress)
            interval = _Interval(state)

    assert state.best is not None  # the last step is evaluated
    return FoldResult(state.best.score, state.best.oof_MC, state.weights_dir)


def _first_state(
    config: Config,
    fold_data: FoldData,
    checkpoints: Checkpoints,
    plan: TrainingPlan,
    precision: Precision,
    device: torch.device,
) -> tuple[FitState, list[ParameterRow]]:
    check_batch_size(config.loss, config.training.batch_size)
    loss = Loss(config.loss, fold_data.targets, fold_data.score_range).to(device)
    means_C = torch.from_numpy(fold_data.labels_NC[fold_data.train_rows].mean(axis=0))
    model = build_regressor(config, fold_data.prepared, means_C, fold_data.seed).to(device)
    table = parameter_table(model, loss, config)
    start_weights(checkpoints.weights_dir, config, model, fold_data.prepared)
    state = FitState(
        model=model,
        loss=loss,
        optimizer=make_optimizer(config.optimizer.algorithm, optimizer_groups(table)),
        scaler=precision.make_scaler(),
        average=WeightAverage(config.swa, plan.num_steps) if config.swa else None,
        weights_dir=checkpoints.weights_dir,
    )
    return state, table


def _evaluate(
    config: Config, fold_data: FoldData, precision: Precision, state: FitState
) -> tuple[float, dict[str, float]]:
    """Scores the current weights, and the averaged ones if there are any; the better ones count."""
    models = {"score_raw": state.model}
    if state.average is not None and state.average.model is not None:
        models["score_swa"] = state.average.model
    labels_MC = fold_data.labels_NC[fold_data.valid_rows]
    oof = {
        name: predict_rows(model, fold_data.prepared, fold_data.valid_rows, config.training.eval_batch_size, precision)
        for name, model in models.items()
    }
    rmse = {name: rmse_per_target(labels_MC, oof_MC) for name, oof_MC in oof.items()}
    scores = {name: float(rmse_C.mean()) for name, rmse_C in rmse.items()}
    if not all(map(math.isfinite, scores.values())):
        raise _diverged("score", state.step)
    winner = min(scores, key=scores.__getitem__)
    state.consider(models[winner], scores[winner], oof[winner])
    metrics = {f"rmse_{target}": float(value) for target, value in zip(fold_data.targets, rmse[winner], strict=True)}
    return scores[winner], metrics | scores


class _Interval:
    """Training between two evaluations: puts the model into training mode and measures."""

    def __init__(self, state: FitState) -> None:
        set_training_mode(state.model)
        self._state = state
        self._loss = torch.zeros((), device=state.model.target_means_C.device)
        self._num_steps = self._num_tokens = 0
        self._started = time.perf_counter()

    def add(self, loss: Tensor, num_tokens: int) -> None:
        self._loss += loss
        self._num_steps += 1
        self._num_tokens += num_tokens

    def metrics(self) -> dict[str, float]:
        """The mean loss and the throughput.

        Raises:
            BadConfig: the loss became NaN or infinite.
        """
        loss = self._loss.item() / self._num_steps  # waits for the device
        if not math.isfinite(loss):
            raise _diverged("training loss", self._state.step)
        metrics = {
            "train_loss": loss,
            "tokens_per_second": self._num_tokens / (time.perf_counter() - self._started),
        }
        if self._loss.device.type == "cuda":
            metrics["peak_memory_mib"] = torch.cuda.max_memory_allocated() / 2**20
        return metrics


def _diverged(what: str, step: int) -> BadConfig:
    return BadConfig(
        f"diverged: the {what} was no longer finite by optimiser step {step}. Lower optimizer.lr and "
        f"optimizer.head_lr, lengthen schedule.warmup_frac, or set optimizer.clip_norm."
    )
