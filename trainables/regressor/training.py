"""The fit: one config on one fold with one seed, from pretrained weights to the best evaluation."""

import math
import time
from functools import partial

import torch
from torch import Tensor

from ell_tune.errors import BadConfig
from ell_tune.essays.metrics import rmse_per_target
from ell_tune.trainable import Checkpoints, FoldData, FoldResult, Progress, Report
from trainables.regressor.averaging.candidate import Candidate
from trainables.regressor.config import Config
from trainables.regressor.encoder.reader import EssayReader
from trainables.regressor.fit.adversarial import Adversary, make_adversary
from trainables.regressor.fit.fit_state import FitState
from trainables.regressor.fit.gradients import apply_gradients, set_training_mode
from trainables.regressor.fit.memory import within_memory
from trainables.regressor.fit.pretraining import pretrain
from trainables.regressor.fit.starting import Fit, start_fit
from trainables.regressor.model import Regressor
from trainables.regressor.optimization.parameter_groups import freeze_parameters
from trainables.regressor.optimization.schedule import learning_rate_factor, set_learning_rates
from trainables.regressor.predicting import predict_rows

_NUM_TIMED = 32  # essays, of all lengths


def fit(config: Config, fold_data: FoldData, checkpoints: Checkpoints, report: Report) -> FoldResult:
    """Trains on the fold's training rows and scores its validation rows; see `ell_tune.trainable`.

    Bit for bit the same with the same seed on the same machine, however often it is interrupted, as long as the same
    batches fit into its memory; those that do not are halved. After each evaluation the state is saved and then
    reported; `report` need not return. A resumed fit repeats its last report.

    Raises:
        BadConfig: the training diverged, ran out of GPU memory with one essay at a time, or cannot begin: see
            `start_fit`.
    """
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()  # an earlier fit of this process had its own
    try:
        return _fit(config, fold_data, checkpoints, report)
    except torch.OutOfMemoryError as error:
        message = str(error)
    # Raised out here, free of a traceback whose frames would keep the tensors that fill the GPU.
    raise BadConfig(
        f"out of memory: essays of text.max_length={config.text.max_length} do not fit the GPU beside the model, and "
        f"smaller batches cannot help: training.micro_batch_size and training.eval_batch_size have been halved, down "
        f"to 1, where they were too large. Set backbone.gradient_checkpointing, a smaller text.max_length or a larger "
        f"freeze.num_layers. ({message})"
    )


def _fit(config: Config, fold_data: FoldData, checkpoints: Checkpoints, report: Report) -> FoldResult:
    fit = start_fit(config, fold_data, checkpoints)
    plan, state = fit.plan, fit.state
    if state.last_progress is not None:
        report(state.last_progress)  # the process may have died before it was heard
    pretrain(config, fold_data, fit)

    scheduled_factor = learning_rate_factor(config.schedule, plan.num_steps)
    adversary = make_adversary(config.adversarial, state.model, state.loss, plan.num_steps)
    interval = _Interval(state)
    for step in range(state.step, plan.num_steps):
        if freeze_parameters(fit.table, plan.epoch(step)):
            set_training_mode(state.model)
        factor = state.averages.learning_rate_factor(step, scheduled_factor(step))
        set_learning_rates(state.optimizer, factor)

        loss, num_tokens = within_memory(state, partial(_accumulate, fit, fold_data, adversary, step))
        apply_gradients(state.parameters(), state.optimizer, state.scaler, config.optimizer.clip_norm)
        state.averages.update(state.model, step)
        state.step = step + 1
        interval.add(loss, num_tokens)

        if (evaluation := plan.evaluation_after(step)) is not None:
            metrics = interval.metrics() | {
                "lr": factor * config.optimizer.lr,
                "micro_batch_size": state.micro_batch_size,
            }
            score, scores = _evaluate(config, fold_data, fit)
            state.last_progress = Progress(evaluation, config.training.evaluations, score, metrics | scores)
            checkpoints.save(state.write)
            report(state.last_progress)
            interval = _Interval(state)

    return state.finish()


def _accumulate(
    fit: Fit, fold_data: FoldData, adversary: Adversary | None, step: int, micro_batch_size: int
) -> tuple[Tensor, int]:
    """Leaves the gradients of one optimiser step, adversarial where that is asked for; its loss, and its tokens."""
    accumulate = fit.accumulation(fold_data, fit.plan.micro_batches(step, micro_batch_size))
    if adversary is not None and step >= adversary.start_step:
        return adversary.accumulate(accumulate)
    return accumulate()


def _evaluate(config: Config, fold_data: FoldData, fit: Fit) -> tuple[float, dict[str, float]]:
    """Scores the current weights, and every average of weights that there is; the best ones count."""
    state, labels_MC = fit.state, fold_data.labels_NC[fold_data.valid_rows]

    def scored(model: Regressor) -> Candidate:
        batch_size = config.training.eval_batch_size
        oof_MC = predict_rows(model, fit.reader, fold_data.valid_rows, batch_size, fit.precision)
        candidate = Candidate(model, oof_MC, rmse_per_target(labels_MC, oof_MC))
        if not math.isfinite(candidate.score):
            raise _diverged("score", state.step)
        return candidate

    started = time.perf_counter()
    candidates = {"raw": scored(state.model)}
    seconds = time.perf_counter() - started
    candidates |= {name: scored(model) for name, model in state.averages.models().items()}
    if state.soup is not None:
        state.soup.offer(state.model, candidates["raw"].score, state.step)
        if (soup := state.soup.cook(state.model, scored)) is not None:
            candidates["soup"] = soup
    best = min(candidates.values(), key=lambda candidate: candidate.score)
    state.consider(best.model, best.score, best.oof_MC)
    metrics = {f"rmse_{target}": float(value) for target, value in zip(fold_data.targets, best.rmse_C, strict=True)}
    metrics["num_parameters"] = float(sum(parameter.numel() for parameter in state.model.parameters()))
    metrics["seconds_per_essay"] = seconds / len(labels_MC)
    if fit.reader.frozen_states:  # which `predict` has not
        metrics["seconds_per_essay"] = _seconds_from_tokens(config, fold_data, fit)
    return best.score, metrics | {f"score_{name}": candidate.score for name, candidate in candidates.items()}


def _seconds_from_tokens(config: Config, fold_data: FoldData, fit: Fit) -> float:
    """The time that `predict` takes for an essay once it has its tokens: a sample through all layers."""
    rows = fold_data.valid_rows[:: math.ceil(len(fold_data.valid_rows) / _NUM_TIMED)]
    reader = EssayReader(fit.reader.essays, fit.reader.device)
    started = time.perf_counter()
    predict_rows(fit.state.model, reader, rows, config.training.eval_batch_size, fit.precision)
    return (time.perf_counter() - started) / len(rows)


class _Interval:
    """Training between two evaluations: puts the model into training mode and measures."""

    def __init__(self, state: FitState) -> None:
        set_training_mode(state.model)
        self._state = state
        self._loss = torch.zeros((), device=state.model.device)
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
