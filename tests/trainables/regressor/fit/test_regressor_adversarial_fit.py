"""Every adversarial method in a whole fit: it starts when it should, and survives an interruption."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from fits import assert_resumes_at_every_evaluation, run

from ell_tune.config import validate
from ell_tune.trainable import FoldData, Progress
from trainables.regressor import Config
from trainables.regressor.fit.adversarial import make_adversary
from trainables.regressor.fit.starting import start_fit

MakeConfig = Callable[..., Config]
MakeFoldData = Callable[..., FoldData]
MakeCheckpoints = Callable[..., Any]

METHODS: dict[str, dict[str, Any]] = {
    "awp": {"name": "awp", "lr": 0.1, "eps": 0.1},
    "fgm": {"name": "fgm", "eps": 0.5},
    "sift": {"name": "sift", "lr": 0.5, "init": 0.1},
}
DROPOUT = {"backbone": {"dropout": 0.1}, "training": {"micro_batch_size": 3}}


def comparable(curve: list[Progress]) -> list[tuple[float, float]]:
    return [(progress.score, progress.metrics["train_loss"]) for progress in curve]


@pytest.mark.parametrize("name", METHODS)
def test_nothing_changes_before_the_start_and_much_after(
    make_config: MakeConfig, make_fold_data: MakeFoldData, make_checkpoints: MakeCheckpoints, name: str
) -> None:
    without = make_config(**DROPOUT, adversarial=None)
    late = make_config(**DROPOUT, adversarial=METHODS[name] | {"start_frac": 0.5})
    fold_data = make_fold_data(without)
    plain, _ = run(without, fold_data, make_checkpoints("without"))
    curve, _ = run(late, fold_data, make_checkpoints("late"))
    # Eight steps, four evaluations: the third follows two attacked steps.
    assert comparable(curve)[:2] == comparable(plain)[:2]
    assert all(found != expected for found, expected in zip(comparable(curve)[2:], comparable(plain)[2:], strict=True))


# A CPU emulates fp16; one method that scales gradients before it perturbs stands for all.
@pytest.mark.parametrize(
    ("name", "precision"),
    [
        *((name, "fp32") for name in METHODS),
        ("awp", "fp16"),
        *(pytest.param(name, "fp16", marks=pytest.mark.slow) for name in ("fgm", "sift")),
    ],
)
def test_a_resumed_fit_attacks_as_if_never_stopped(
    make_config: MakeConfig, make_fold_data: MakeFoldData, make_checkpoints: MakeCheckpoints, name: str, precision: str
) -> None:
    # Four steps, an evaluation after each; the attacks start with the second.
    training = {"batch_size": 16, "micro_batch_size": 9, "precision": precision}
    config = make_config(**DROPOUT | {"training": training}, adversarial=METHODS[name] | {"start_frac": 0.3})
    assert_resumes_at_every_evaluation(config, make_fold_data(config), make_checkpoints)


@pytest.mark.parametrize(
    ("method", "num_losses"),
    [
        ({"name": "awp", "lr": 1e-6, "eps": 1e-5}, 1),  # the perturbed loss alone
        ({"name": "fgm", "eps": 1e-3}, 2),  # the plain one and the perturbed one
        ({"name": "sift", "lr": 0.5, "init": 0.1}, 1),  # what it adds knows no uncertainties
    ],
    ids=lambda value: value["name"] if isinstance(value, dict) else "",
)
def test_a_learned_loss_has_the_gradient_of_the_losses_that_the_weights_have(
    make_config: MakeConfig,
    make_fold_data: MakeFoldData,
    make_checkpoints: MakeCheckpoints,
    method: dict[str, Any],
    num_losses: int,
) -> None:
    # Perturbations too small to change the loss: only how often it is counted shows.
    config = make_config(loss={"uncertainty": {}}, adversarial=method | {"start_frac": 0.0})
    fold_data = make_fold_data(config)
    fit = start_fit(config, fold_data, make_checkpoints())
    uncertainty_C = fit.state.loss.log_variance_C
    accumulate = fit.accumulation(fold_data, fit.plan.micro_batches(0, 8))
    accumulate()
    assert uncertainty_C is not None and uncertainty_C.grad is not None
    plain_C = uncertainty_C.grad.clone()
    fit.state.optimizer.zero_grad()
    adversary = make_adversary(config.adversarial, fit.state.model, fit.state.loss, fit.plan.num_steps)
    assert adversary is not None
    adversary.accumulate(accumulate)
    assert plain_C.abs().min() > 1e-3
    torch.testing.assert_close(uncertainty_C.grad, num_losses * plain_C, rtol=1e-2, atol=0)


@pytest.mark.parametrize(
    ("adversarial", "message"),
    [
        ({"name": "pgd"}, "adversarial: `name` must be one of 'awp', 'fgm', 'sift'"),
        ({"name": "fgm", "lr": 1e-4}, "adversarial.lr: fgm has no such field, but awp, sift have"),
        ({"name": "awp", "start_frac": 1.0}, "adversarial.start_frac: .*at most 0.99"),
    ],
)
def test_illegal_methods_are_named(adversarial: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        validate(Config, {"adversarial": adversarial})


@pytest.mark.parametrize("off", [False, "off", None])
def test_off_is_absent(off: object) -> None:
    assert validate(Config, {"adversarial": off}) == Config()
