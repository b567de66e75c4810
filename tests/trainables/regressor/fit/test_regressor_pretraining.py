"""Pre-training on pseudo-labels: what it trains at which rates, and that the fit after it is the one it always was."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from fits import RICH, assert_resumes_at_every_evaluation, run, without_throughput

from ell_tune.config import validate
from ell_tune.errors import BadConfig
from ell_tune.trainable import FoldData
from trainables.regressor import Config
from trainables.regressor.fit import pretraining
from trainables.regressor.fit.plan import TrainingConfig
from trainables.regressor.fit.pretraining import pretrain
from trainables.regressor.fit.pseudo_plan import PseudoConfig, pretraining_factor, pretraining_plan
from trainables.regressor.fit.starting import start_fit
from trainables.regressor.optimization.schedule import ScheduleConfig

MakeConfig = Callable[..., Config]
MakeFoldData = Callable[..., FoldData]
MakeCheckpoints = Callable[..., Any]
PSEUDO_ROWS = np.arange(12, 30)


def with_pseudo(fold_data: FoldData) -> FoldData:
    """Of the 40 essays, 12 are trained on and 18 have pseudo-labels, which are right up to a little noise."""
    noise_PC = np.random.default_rng(0).normal(scale=0.02, size=(len(PSEUDO_ROWS), 2))
    labels_NC = fold_data.labels_NC.copy()
    labels_NC[PSEUDO_ROWS] += noise_PC.astype(np.float32)
    return replace(fold_data, labels_NC=labels_NC, train_rows=np.arange(12), pseudo_rows=PSEUDO_ROWS)


@pytest.fixture
def config(make_config: MakeConfig) -> Config:
    return make_config(pseudo={"num_epochs": 2}, training={"num_epochs": 2, "batch_size": 4, "evaluations": 2})


@pytest.fixture
def fold_data(config: Config, make_fold_data: MakeFoldData) -> FoldData:
    return with_pseudo(make_fold_data(config))


def test_the_phase_has_a_warm_up_and_a_decay_of_its_own() -> None:
    schedule = validate(ScheduleConfig, {"curve": {"name": "linear"}, "warmup_frac": 0.25})
    factor = pretraining_factor(PseudoConfig(lr_factor=5.0), schedule, num_steps=8)
    assert [factor(step) for step in range(8)] == pytest.approx(
        [0.0, 2.5, 5.0, 5 * 5 / 6, 5 * 4 / 6, 5 * 3 / 6, 5 * 2 / 6, 5 * 1 / 6]
    )


def test_every_epoch_of_the_phase_passes_over_the_pseudo_labelled_essays() -> None:
    training = TrainingConfig(num_epochs=9, batch_size=4, evaluations=200)
    plan = pretraining_plan(PseudoConfig(num_epochs=2), training, PSEUDO_ROWS, np.arange(40), seed=1)
    assert plan.num_steps == 2 * 5
    for first in (0, 5):
        pieces = [piece for step in range(first, first + 5) for piece in plan.micro_batches(step, 3)]
        assert sorted(np.concatenate(pieces)) == PSEUDO_ROWS.tolist()
        assert max(map(len, pieces)) == 3


def test_a_fit_without_pseudo_labels_or_with_pseudo_off_is_as_it_always_was(
    config: Config, fold_data: FoldData, make_checkpoints: MakeCheckpoints
) -> None:
    off = config.model_copy(update={"pseudo": None})
    without = replace(fold_data, pseudo_rows=np.empty(0, dtype=np.int64))
    plain = without_throughput(run(off, without, make_checkpoints("plain"))[0])
    assert without_throughput(run(config, without, make_checkpoints("no_essays"))[0]) == plain
    assert without_throughput(run(off, fold_data, make_checkpoints("off"))[0]) == plain
    assert without_throughput(run(config, fold_data, make_checkpoints("both"))[0]) != plain


def test_the_curve_is_that_of_the_fine_tuning_and_follows_from_the_seed(
    config: Config, fold_data: FoldData, make_checkpoints: MakeCheckpoints
) -> None:
    off = config.model_copy(update={"pseudo": None})
    plain, _ = run(off, fold_data, make_checkpoints("plain"))
    curves = []
    for drawn_before, seed in enumerate([7, 7, 8]):
        torch.manual_seed(drawn_before)
        curve, _ = run(config, replace(fold_data, seed=seed), make_checkpoints(f"fit{drawn_before}"))
        curves.append(without_throughput(curve))
        assert [(p.step, p.num_steps, p.metrics["lr"]) for p in curve] == [
            (p.step, p.num_steps, p.metrics["lr"]) for p in plain
        ]
    assert curves[0] == curves[1]
    assert curves[0] != curves[2]


def test_pre_training_helps_where_labels_are_few(
    make_config: MakeConfig, make_fold_data: MakeFoldData, make_checkpoints: MakeCheckpoints
) -> None:
    sections = {
        "optimizer": {"lr": 1e-2, "head_lr": 3e-2},
        "training": {"num_epochs": 2, "batch_size": 4, "evaluations": 1},
    }
    config = make_config(pseudo={"num_epochs": 15}, **sections)
    fold_data = with_pseudo(make_fold_data(config))
    _, without = run(config.model_copy(update={"pseudo": None}), fold_data, make_checkpoints("without"))
    _, pretrained = run(config, fold_data, make_checkpoints("pretrained"))
    assert without is not None and pretrained is not None
    assert pretrained.score < 0.8 * without.score


def test_the_validation_rows_labels_do_not_reach_the_phase(
    config: Config, fold_data: FoldData, make_checkpoints: MakeCheckpoints
) -> None:
    weights = []
    for name, valid_label in [("as_scored", None), ("other", 4.5)]:
        labels_NC = fold_data.labels_NC.copy()
        if valid_label is not None:
            labels_NC[fold_data.valid_rows] = valid_label
        fit = start_fit(config, replace(fold_data, labels_NC=labels_NC), make_checkpoints(name))
        pretrain(config, replace(fold_data, labels_NC=labels_NC), fit)
        weights.append(fit.state.model.state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_fine_tuning_starts_with_new_weights_fresh_moments_and_no_average(
    make_config: MakeConfig, make_fold_data: MakeFoldData, make_checkpoints: MakeCheckpoints
) -> None:
    config = make_config(
        swa={"start_frac": 0.0}, soup={"num_checkpoints": 2}, freeze={"num_layers": 1, "num_epochs": 1}
    )
    fold_data = with_pseudo(make_fold_data(config))
    fit = start_fit(config, fold_data, make_checkpoints())
    before = {name: value.clone() for name, value in fit.state.model.state_dict().items()}
    pretrain(config, fold_data, fit)
    after = fit.state.model.state_dict()
    # The layer that is frozen in the first epoch of the fine-tuning is trained here.
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert "head.output.weight" in moved and any(".layer.0." in name for name in moved)
    assert torch.equal(before["head.target_means_C"], after["head.target_means_C"])
    assert len(fit.state.optimizer.state) == 0
    assert all(parameter.grad is None for parameter in fit.state.parameters())
    assert (fit.state.step, fit.state.averages.models(), fit.state.best) == (0, {}, None)


def test_a_resumed_fit_is_not_pre_trained_again(
    make_config: MakeConfig, make_fold_data: MakeFoldData, make_checkpoints: MakeCheckpoints
) -> None:
    config = make_config(**RICH | {"pseudo": {"num_epochs": 1, "lr_factor": 3.0}})
    assert_resumes_at_every_evaluation(config, with_pseudo(make_fold_data(config)), make_checkpoints)


def test_a_fit_that_is_killed_while_pre_training_starts_over(
    config: Config, fold_data: FoldData, make_checkpoints: MakeCheckpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    num_steps = 0

    def dying(*arguments: Any) -> None:
        nonlocal num_steps
        num_steps += 1
        if num_steps == 4:
            raise Killed
        apply_gradients(*arguments)

    apply_gradients = pretraining.apply_gradients
    whole = without_throughput(run(config, fold_data, make_checkpoints("whole"))[0])
    killed = make_checkpoints("killed")
    monkeypatch.setattr(pretraining, "apply_gradients", dying)
    with pytest.raises(Killed):
        run(config, fold_data, killed)
    monkeypatch.undo()
    assert killed.saved == []
    assert without_throughput(run(config, fold_data, killed)[0]) == whole


def test_pre_training_that_diverges_is_a_bad_config(
    config: Config, fold_data: FoldData, make_checkpoints: MakeCheckpoints
) -> None:
    fold_data.labels_NC[PSEUDO_ROWS[3]] = np.inf
    with pytest.raises(BadConfig, match=r"diverged: the loss on pseudo-labels .* 10 steps .* Lower pseudo.lr_factor"):
        run(config, fold_data, make_checkpoints())
