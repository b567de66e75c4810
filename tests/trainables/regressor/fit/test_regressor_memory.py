"""A fit on a device that runs out of memory: the same optimiser steps, in smaller micro-batches."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from fits import assert_resumes_at_every_evaluation, run, without_throughput
from safetensors.torch import load_file
from small_device import SmallDevice
from torch import Tensor

from ell_tune.errors import BadConfig
from ell_tune.trainable import FoldData, FoldResult
from trainables.regressor import Config

MakeConfig = Callable[..., Config]
MakeFoldData = Callable[..., FoldData]
MakeCheckpoints = Callable[..., Any]

# Four steps. Evaluations that fit every device here: they are looked at in test_regressor_halving.py.
TRAINING = {"num_epochs": 1, "evaluations": 2, "eval_batch_size": 2}
AWP: dict[str, Any] = {"adversarial": {"name": "awp", "lr": 0.1, "eps": 0.1, "start_frac": 0.0}}
FGM: dict[str, Any] = {"adversarial": {"name": "fgm", "eps": 0.5, "start_frac": 0.0}}
SIFT: dict[str, Any] = {"adversarial": {"name": "sift", "lr": 0.5, "init": 0.1, "start_frac": 0.0}}
RMSE: dict[str, Any] = {"loss": {"criterion": {"name": "rmse"}, "uncertainty": {}}}
# Sections of a config, and the pass of a step in micro-batches of four and four that fails. With gradients of what was
# before it: AWP and FGM have gone through both micro-batches then, and moved weights; RMSE scores both before that.
FAILURES = [
    pytest.param({}, 1, id="first micro-batch"),
    pytest.param({}, 2, id="second micro-batch"),
    pytest.param(AWP, 2, id="awp's plain pass"),
    pytest.param(AWP, 4, id="awp's perturbed pass"),
    pytest.param(FGM, 4, id="fgm's perturbed pass"),
    pytest.param(RMSE, 2, id="coupled essays' first pass"),
    pytest.param(RMSE, 4, id="coupled essays' second pass"),
    pytest.param(RMSE | AWP, 7, id="coupled essays' first pass under awp"),
]


def weights(result: FoldResult | None) -> dict[str, Tensor]:
    assert result is not None
    return load_file(result.weights_dir / "model.safetensors")


def passes_per_step(sections: dict[str, Any]) -> int:
    """The forward passes of a step in two micro-batches."""
    return 2 * (2 if "loss" in sections else 1) * (2 if "adversarial" in sections else 1)


def test_a_batch_that_does_not_fit_is_halved_until_it_does(
    make_config: MakeConfig,
    make_fold_data: MakeFoldData,
    make_checkpoints: MakeCheckpoints,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = make_config(training=TRAINING)
    fold_data = make_fold_data(config)
    whole_curve, whole = run(config, fold_data, make_checkpoints("whole"))
    device = SmallDevice(limit=3).install(monkeypatch)
    curve, result = run(config, fold_data, make_checkpoints("small"))
    assert device.train_sizes[:6] == [8, 4, 2, 2, 2, 2]
    assert max(device.train_sizes[3:]) == 2
    assert [progress.metrics["micro_batch_size"] for progress in curve] == [2, 2]
    assert [progress.score for progress in curve] == pytest.approx([progress.score for progress in whole_curve])
    torch.testing.assert_close(weights(result), weights(whole), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("sections", "failing_pass"), FAILURES)
def test_weights_are_those_of_an_undisturbed_fit(
    make_config: MakeConfig,
    make_fold_data: MakeFoldData,
    make_checkpoints: MakeCheckpoints,
    monkeypatch: pytest.MonkeyPatch,
    sections: dict[str, Any],
    failing_pass: int,
) -> None:
    config = make_config(**sections, training=TRAINING | {"micro_batch_size": 4})
    fold_data = make_fold_data(config)
    _, undisturbed = run(config, fold_data, make_checkpoints("undisturbed"))
    # In the third step of four, after the first evaluation of two.
    shrinks_at = 2 * passes_per_step(sections) + failing_pass
    device = SmallDevice(4, shrinks_at, small_limit=3).install(monkeypatch)
    curve, result = run(config, fold_data, make_checkpoints("disturbed"))
    assert device.num_failures == 1
    assert [progress.metrics["micro_batch_size"] for progress in curve] == [4, 2]
    torch.testing.assert_close(weights(result), weights(undisturbed), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("precision", ["fp32", pytest.param("fp16", marks=pytest.mark.slow)])  # emulated on a CPU
@pytest.mark.parametrize(("sections", "failing_pass"), [*FAILURES, pytest.param(SIFT, 5, id="sift's perturbed pass")])
def test_a_failed_attempt_leaves_nothing_behind(
    make_config: MakeConfig,
    make_fold_data: MakeFoldData,
    make_checkpoints: MakeCheckpoints,
    monkeypatch: pytest.MonkeyPatch,
    sections: dict[str, Any],
    failing_pass: int,
    precision: str,
) -> None:
    # Weights, gradients, the loss scale and random numbers: bit for bit a fit that never tried the larger size.
    rich = sections | {"backbone": {"dropout": 0.1}, "mixout": {"p": 0.1}}
    small, large = (
        make_config(**rich, training=TRAINING | {"precision": precision, "micro_batch_size": size}) for size in (2, 4)
    )
    fold_data = make_fold_data(small)
    expected = make_checkpoints("expected")
    expected_curve, expected_result = run(small, fold_data, expected)
    device = SmallDevice(4, failing_pass, small_limit=3).install(monkeypatch)
    found = make_checkpoints("found")
    curve, result = run(large, fold_data, found)
    assert device.num_failures == 1
    assert without_throughput(curve) == without_throughput(expected_curve)
    found_weights, expected_weights = weights(result), weights(expected_result)
    assert all(torch.equal(found_weights[name], weight) for name, weight in expected_weights.items())
    ours, theirs = (torch.load(checkpoints.latest() / "state.pt") for checkpoints in (found, expected))
    assert ours["scaler"] == theirs["scaler"] and bool(ours["scaler"]) == (precision == "fp16")
    assert torch.equal(ours["random"], theirs["random"])


@pytest.mark.parametrize("sections", [{}, AWP, RMSE], ids=["plain", "awp", "rmse"])
def test_a_resumed_fit_does_not_run_out_of_memory_again(
    make_config: MakeConfig,
    make_fold_data: MakeFoldData,
    make_checkpoints: MakeCheckpoints,
    monkeypatch: pytest.MonkeyPatch,
    sections: dict[str, Any],
) -> None:
    config = make_config(**sections, backbone={"dropout": 0.1}, training=TRAINING)
    device = SmallDevice(limit=3).install(monkeypatch)
    assert_resumes_at_every_evaluation(config, make_fold_data(config), make_checkpoints)
    assert device.num_failures == 2  # with eight essays and with four, at the very first


def test_one_essay_that_does_not_fit_is_a_bad_config(
    make_config: MakeConfig,
    make_fold_data: MakeFoldData,
    make_checkpoints: MakeCheckpoints,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = make_config()
    device = SmallDevice(limit=0).install(monkeypatch)
    message = (
        r"^out of memory: essays of text.max_length=64 do not fit the GPU .* Set backbone.gradient_checkpointing, a "
        r"smaller text.max_length or a larger freeze.num_layers. \(Tried to allocate 2 GiB\)$"
    )
    with pytest.raises(BadConfig, match=message) as raised:
        run(config, make_fold_data(config), make_checkpoints())
    assert device.train_sizes == [8, 4, 2, 1]
    assert raised.value.__context__ is None
    assert device.num_tensors_left() == 0


def test_an_update_that_does_not_fit_is_not_done_again(
    make_config: MakeConfig,
    make_fold_data: MakeFoldData,
    make_checkpoints: MakeCheckpoints,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Some weights may have been updated by then; and nothing of the micro-batch is in memory.
    device = SmallDevice(limit=8).install(monkeypatch)

    def no_room_for_moments(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("Tried to allocate 4 GiB")

    monkeypatch.setattr(torch.optim.AdamW, "step", no_room_for_moments)
    config = make_config()
    with pytest.raises(BadConfig, match="out of memory: .* smaller batches cannot help"):
        run(config, make_fold_data(config), make_checkpoints())
    assert device.train_sizes == [8]
