"""The fit: one config on one fold with one seed, from pretrained weights to the best evaluation."""

import math
import time
from functools import partial

import torch
from torch import Tensor

from ell_tune.errors import BadConfig
from ell_tune.metrics import rmse_per_target
from ell_tune.trainable import Checkpoints, FoldData, FoldResult, Progress, Report
from trainables.regressor.adversarial import SiftConfig, make_adversary
from trainables.regressor.averaging import WeightAverages
from trainables.regressor.building import build_regressor
from trainables.regressor.candidate import Candidate
from trainables.regressor.config import Config
from trainables.regressor.fit_state import FitState
from trainables.regressor.frozen_states import open_frozen_states
from trainables.regressor.gradients import accumulate_gradients, apply_gradients, set_training_mode
from trainables.regressor.mixout import add_mixout
from trainables.regressor.model import Regressor
from trainables.regressor.optimization import learning_rate_factor, make_optimizer, set_learning_rates
from trainables.regressor.parameter_groups import freeze_parameters, optimizer_groups, parameter_table
from trainables.regressor.plan import TrainingPlan
from trainables.regressor.precision import Precision, best_device
from trainables.regressor.predicting import predict_rows
from trainables.regressor.prior_decay import decay_towards
from trainables.regressor.reader import EssayReader
from trainables.regressor.reinit import trained_from_pretrained
from trainables.regressor.ridge_head import fit_head_by_ridge
from trainables.regressor.soup import CheckpointSoup
from trainables.regressor.weights import soup_dir, start_weights


def fit(config: Config, fold_data: FoldData, checkpoints: Checkpoints, report: Report) -> FoldResult:
    """Trains on the fold's training rows and scores its validation rows; see `ell_tune.trainable`.

    Bit for bit the same with the same seed on the same machine, however often it is interrupted. After each
    evaluation the state is saved and then reported; `report` need not return. A resumed fit repeats its last report.

    Raises:
        BadConfig: the training diverged, ran out of GPU memory, or the config does not fit the backbone's depth or
            the number of essays.
        UserError: the backbone cannot be had.
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
    state = _first_state(config, fold_data, checkpoints, plan, precision, device)
    reader = _reader(config, fold_data, precision, state.model)
    if (latest := checkpoints.latest()) is None:
        _start_head(config, fold_data, precision, reader, state.model)
    else:
        state.read(latest)
        assert state.last_progress is not None
        report(state.last_progress)  # the process may have died before it was heard

    adversary = make_adversary(config.adversarial, state.model, plan.num_steps)
    interval = _Interval(state)
    for step in range(state.step, plan.num_steps):
        scheduled = learning_rate_factor(config.schedule, step, plan.num_steps)
        factor = state.averages.learning_rate_factor(step, scheduled)
        set_learning_rates(state.optimizer, factor)

        accumulate = partial(
            accumulate_gradients,
            state.model,
            reader,
            plan.micro_batches(step),
            fold_data,
            config.loss,
            precision,
            state.scaler,
        )
        if adversary is not None and step >= adversary.start_step:
            loss, num_tokens = adversary.accumulate(accumulate)
        else:
            loss, num_tokens = accumulate()
        apply_gradients(state.model, state.optimizer, state.scaler, config.optimizer.clip_norm)
        state.averages.update(state.model, step)
        state.step = step + 1
        interval.add(loss, num_tokens)

        if (evaluation := plan.evaluation_after(step)) is not None:
            metrics = interval.metrics() | {"lr": factor * config.optimizer.lr}
            score, scores = _evaluate(config, fold_data, precision, reader, state)
            state.last_progress = Progress(evaluation, config.training.evaluations, score, metrics | scores)
            checkpoints.save(state.write)
            report(state.last_progress)
            interval = _Interval(state)

    return state.finish()


def _first_state(
    config: Config,
    fold_data: FoldData,
    checkpoints: Checkpoints,
    plan: TrainingPlan,
    precision: Precision,
    device: torch.device,
) -> FitState:
    means_C = torch.from_numpy(fold_data.labels_NC[fold_data.train_rows].mean(axis=0))
    model = build_regressor(config, fold_data.prepared, means_C, fold_data.seed).to(device)
    table = parameter_table(model, config.optimizer, config.freeze)
    freeze_parameters(model, table)
    optimizer = make_optimizer(config.optimizer, optimizer_groups(model, table))
    pretrained = trained_from_pretrained(model.backbone, config.reinit)
    if config.mixout is not None:
        add_mixout(model.backbone, config.mixout, pretrained)
    if config.prior_decay is not None:
        decay_towards(optimizer, config.prior_decay, pretrained)
    start_weights(checkpoints.weights_dir, config, model, fold_data.prepared)
    return FitState(
        model=model,
        optimizer=optimizer,
        scaler=precision.make_scaler(),
        averages=WeightAverages(config.swa, config.ema, plan.num_steps),
        soup=CheckpointSoup(config.soup, soup_dir(checkpoints.weights_dir)) if config.soup else None,
        weights_dir=checkpoints.weights_dir,
    )


def _reader(config: Config, fold_data: FoldData, precision: Precision, model: Regressor) -> EssayReader:
    essays, device = fold_data.prepared, model.target_means_C.device
    # SiFT perturbs embeddings on their way up, so it needs every layer.
    keeps_states = config.freeze.keep_states and not isinstance(config.adversarial, SiftConfig)
    return EssayReader(essays, device, open_frozen_states(model, essays, precision) if keeps_states else None)


def _start_head(
    config: Config, fold_data: FoldData, precision: Precision, reader: EssayReader, model: Regressor
) -> None:
    if (alpha := config.head.ridge_alpha) is not None:
        rows, batch_size = fold_data.train_rows, config.training.eval_batch_size
        fit_head_by_ridge(model, reader, rows, fold_data.labels_NC[rows], alpha, batch_size, precision)


def _evaluate(
    config: Config, fold_data: FoldData, precision: Precision, reader: EssayReader, state: FitState
) -> tuple[float, dict[str, float]]:
    """Scores the current weights, and every average of weights that there is; the best ones count."""
    labels_MC = fold_data.labels_NC[fold_data.valid_rows]

    def scored(model: Regressor) -> Candidate:
        batch_size = config.training.eval_batch_size
        oof_MC = predict_rows(model, reader, fold_data.valid_rows, batch_size, precision)
        candidate = Candidate(model, oof_MC, rmse_per_target(labels_MC, oof_MC))
        if not math.isfinite(candidate.score):
            raise _diverged("score", state.step)
        return candidate

    candidates = {name: scored(model) for name, model in {"raw": state.model, **state.averages.models()}.items()}
    if state.soup is not None:
        state.soup.offer(state.model, candidates["raw"].score, state.step)
        if (soup := state.soup.cook(state.model, scored)) is not None:
            candidates["soup"] = soup
    best = min(candidates.values(), key=lambda candidate: candidate.score)
    state.consider(best.model, best.score, best.oof_MC)
    metrics = {f"rmse_{target}": float(value) for target, value in zip(fold_data.targets, best.rmse_C, strict=True)}
    return best.score, metrics | {f"score_{name}": candidate.score for name, candidate in candidates.items()}


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
