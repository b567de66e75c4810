"""What only a real GPU shows: `make gpu`. Skipped, visibly, where there is none."""

import copy
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from deberta_pairs import ARCHITECTURES, make_pair
from fits import RICH, assert_resumes_at_every_evaluation, run
from torch import Tensor
from transformers import DebertaV2Config, DebertaV2Model, PreTrainedModel

from ell_tune.trainable import FoldData
from trainables import regressor
from trainables.regressor import Config
from trainables.regressor.encoder import disentangled_attention
from trainables.regressor.encoder.disentangled_attention import accelerate_attention
from trainables.regressor.encoder.flash_attention import flash_kernel
from trainables.regressor.fit.gradients import apply_gradients, set_training_mode
from trainables.regressor.fit.starting import start_fit

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

MakeConfig = Callable[..., Config]
MakeFoldData = Callable[..., FoldData]
MakeCheckpoints = Callable[..., Any]
# Heads of 16 numbers; with a width of 96, of 32.
DEBERTA: dict[str, Any] = {"hidden_size": 48, "intermediate_size": 64, "spread": 0.0, **ARCHITECTURES["v3"]}


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_fit_learns_in_every_precision_and_predicts_what_it_scored(
    make_config: MakeConfig,
    make_fold_data: MakeFoldData,
    make_checkpoints: MakeCheckpoints,
    essays: list[str],
    precision: str,
) -> None:
    config = make_config(training={"precision": precision, "num_epochs": 8})
    fold_data = make_fold_data(config)
    curve, result = run(config, fold_data, make_checkpoints())
    assert result is not None
    labels_MC = fold_data.labels_NC[fold_data.valid_rows]
    spread = float(np.sqrt(np.mean((labels_MC - labels_MC.mean(axis=0)) ** 2, axis=0)).mean())
    assert result.score < spread
    assert all(progress.metrics["peak_memory_mib"] > 0 for progress in curve)
    predicted_MC = regressor.predict(result.weights_dir, [essays[row] for row in fold_data.valid_rows])
    # Batches of other sizes take other kernels: equal up to the precision.
    np.testing.assert_allclose(predicted_MC, result.oof_MC, atol=1e-4 if precision == "fp32" else 0.05)


def test_fp32_is_that_of_the_cpu(
    make_config: MakeConfig,
    make_fold_data: MakeFoldData,
    make_checkpoints: MakeCheckpoints,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = make_config(training={"precision": "fp32"})
    fold_data = make_fold_data(config)
    on_gpu, _ = run(config, fold_data, make_checkpoints("gpu"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    on_cpu, _ = run(config, fold_data, make_checkpoints("cpu"))
    assert [p.score for p in on_gpu] == pytest.approx([p.score for p in on_cpu], rel=1e-3)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_resumed_fit_goes_on_bit_for_bit(
    make_config: MakeConfig, make_fold_data: MakeFoldData, make_checkpoints: MakeCheckpoints, precision: str
) -> None:
    config = make_config(**RICH | {"training": {"micro_batch_size": 3, "precision": precision}})
    assert_resumes_at_every_evaluation(config, make_fold_data(config), make_checkpoints)


@pytest.mark.parametrize("algorithm", [{"name": name} for name in ("adamw", "adamw_8bit", "adafactor", "lion")])
def test_every_optimiser_learns_and_resumes(
    make_config: MakeConfig, make_fold_data: MakeFoldData, make_checkpoints: MakeCheckpoints, algorithm: dict[str, Any]
) -> None:
    config = make_config(optimizer={"algorithm": algorithm})
    assert_resumes_at_every_evaluation(config, make_fold_data(config), make_checkpoints)


@pytest.mark.parametrize("clip_norm", [None, 1.0])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])  # fp16's scaler has to look whether a gradient overflowed
def test_nothing_in_a_step_waits_for_the_gpu(
    make_config: MakeConfig,
    make_fold_data: MakeFoldData,
    make_checkpoints: MakeCheckpoints,
    strict_about_waiting: Callable[[], None],
    precision: str,
    clip_norm: float | None,
) -> None:
    config = make_config(optimizer={"clip_norm": clip_norm}, training={"precision": precision})
    fold_data = make_fold_data(config)
    fit = start_fit(config, fold_data, make_checkpoints())
    set_training_mode(fit.state.model)

    def take_step(step: int) -> None:
        micro_batches = fit.plan.micro_batches(step, fit.state.micro_batch_size)
        fit.accumulation(fold_data, micro_batches)()
        apply_gradients(fit.state.parameters(), fit.state.optimizer, fit.state.scaler, clip_norm)
        fit.state.averages.update(fit.state.model, step)

    take_step(0)  # the optimiser makes its state, and the libraries their workspaces
    strict_about_waiting()
    take_step(1)
    take_step(2)


@pytest.fixture
def strict_about_waiting() -> Iterator[Callable[[], None]]:
    """From the call on, until the test ends, torch raises where the CPU would wait for the GPU."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Synchronization debug mode is a prototype feature")
        yield lambda: torch.cuda.set_sync_debug_mode("error")
        torch.cuda.set_sync_debug_mode("default")


def test_a_step_that_does_not_fit_is_halved_and_the_fit_goes_on(
    make_config: MakeConfig, make_fold_data: MakeFoldData, make_checkpoints: MakeCheckpoints, tmp_path: Path
) -> None:
    sizes = {"hidden_size": 384, "num_attention_heads": 6, "num_hidden_layers": 8, "intermediate_size": 1536}
    large = make_config().encoders["first"].backbone.name
    config = DebertaV2Config.from_pretrained(large)
    config.update(sizes)
    folder = tmp_path / "large"
    DebertaV2Model(config).save_pretrained(folder)
    for path in Path(large).iterdir():  # its tokenizer
        if path.name not in ("config.json", "model.safetensors"):
            (folder / path.name).write_bytes(path.read_bytes())

    def fit_with(micro_batch_size: int) -> tuple[list[float], list[float], float]:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        whole = make_config(
            backbone={"name": str(folder)},
            optimizer={"lr": 1e-5},
            training={"batch_size": 30, "micro_batch_size": micro_batch_size, "evaluations": 2, "precision": "fp32"},
        )
        curve, result = run(whole, make_fold_data(whole), make_checkpoints(str(len(list(tmp_path.iterdir())))))
        assert result is not None
        sizes_used = [progress.metrics["micro_batch_size"] for progress in curve]
        return [progress.score for progress in curve], sizes_used, torch.cuda.max_memory_reserved()

    fit_with(4)  # libraries take their workspaces
    scores, micro_sizes, needed = fit_with(30)
    eight_scores, _, enough = fit_with(8)
    assert micro_sizes == [30.0] * 2 and enough < needed
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((enough + 0.3 * (needed - enough)) / total)
    try:
        halved_scores, halved_sizes, _ = fit_with(30)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert max(halved_sizes) < 30
    assert halved_scores == pytest.approx(scores, rel=1e-3)
    assert halved_scores == pytest.approx(eight_scores, rel=1e-3)


def gradients_and_states(model: PreTrainedModel, tokens_BT: Tensor, mask_BT: Tensor) -> dict[str, Tensor]:
    states_BTD = model(tokens_BT, attention_mask=mask_BT).last_hidden_state * mask_BT.unsqueeze(-1)
    states_BTD.square().sum().backward()
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {"states": states_BTD.detach(), **found}


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-3)])
def test_fast_attention_is_exact_on_a_gpu_too(dtype: torch.dtype, tolerance: float) -> None:
    reference, fast = make_pair(dtype, "cuda", **DEBERTA)
    tokens_BT = torch.randint(1, 50, (4, 60), device="cuda")
    mask_BT = (torch.arange(60, device="cuda") < torch.tensor([[60], [45], [20], [1]], device="cuda")).long()
    expected = gradients_and_states(reference, tokens_BT, mask_BT)
    found = gradients_and_states(fast, tokens_BT, mask_BT)
    assert found.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_flash_attention_is_as_near_to_float64_as_our_own(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("flashdeberta.ops.flash_attention")
    exact, _ = make_pair(torch.float64, "cuda", **DEBERTA | {"hidden_size": 96})
    tokens_BT = torch.randint(1, 50, (4, 60), device="cuda")
    mask_BT = (torch.arange(60, device="cuda") < torch.tensor([[60], [45], [20], [1]], device="cuda")).long()
    expected = gradients_and_states(exact, tokens_BT, mask_BT)
    kernels: list[Any] = []

    def distances(allowed: bool) -> dict[str, float]:
        def chosen(query_BHTD: Tensor, dropout: float) -> Any:
            kernels.append(flash_kernel(query_BHTD, dropout) if allowed else None)
            return kernels[-1]

        monkeypatch.setattr(disentangled_attention, "flash_kernel", chosen)
        model = copy.deepcopy(exact).to(dtype)
        accelerate_attention(model)
        found = gradients_and_states(model, tokens_BT, mask_BT)
        model.zero_grad()
        again = gradients_and_states(model, tokens_BT, mask_BT)
        assert all(torch.equal(found[name], again[name]) for name in expected)
        return {name: float((found[name].double() - expected[name]).norm()) for name in expected}

    flash, ours = distances(allowed=True), distances(allowed=False)
    assert [kernel is None for kernel in kernels] == [False] * 4 + [True] * 4
    size = {name: float(value.norm()) for name, value in expected.items()}
    assert {name for name in expected if flash[name] > 2 * ours[name] + 1e-3 * size[name] + 1e-4} == set()


def test_the_peak_of_memory_is_that_of_the_fit_alone(
    make_config: MakeConfig, make_fold_data: MakeFoldData, make_checkpoints: MakeCheckpoints
) -> None:
    config = make_config(training={"batch_size": 2})
    fold_data = make_fold_data(config)
    alone, _ = run(config, fold_data, make_checkpoints("alone"))
    torch.empty(2**28, device="cuda")  # what an earlier fit of the same process may have had
    after, _ = run(config, fold_data, make_checkpoints("after"))
    assert after[-1].metrics["peak_memory_mib"] == alone[-1].metrics["peak_memory_mib"]
