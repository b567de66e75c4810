"""Adversarial training: what every method must do, and each method's perturbation by hand."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from ell_tune.trainable import FoldData
from trainables.regressor import Config
from trainables.regressor.building import build_regressor
from trainables.regressor.encoder.precision import Precision
from trainables.regressor.encoder.reader import EssayReader
from trainables.regressor.fit.adversarial import AdversarialConfig, Adversary, Awp, AwpConfig, make_adversary, moved
from trainables.regressor.fit.gradients import accumulate_gradients
from trainables.regressor.losses import Loss, LossConfig
from trainables.regressor.model import Regressor
from trainables.regressor.optimization.parameter_groups import freeze_parameters, parameter_table

# Strong enough to be seen in a gradient.
METHODS: dict[str, dict[str, Any]] = {
    "awp": {"name": "awp", "lr": 0.1, "eps": 0.1},
    "fgm": {"name": "fgm", "eps": 0.5},
    "sift": {"name": "sift", "lr": 0.5, "init": 0.1},
}
WINDOW = [np.arange(8)]


class Window:
    """A window of essays, a fresh model, and the gradients that a method leaves on it."""

    def __init__(self, make_config: Callable[..., Config], make_fold_data: Callable[..., FoldData]) -> None:
        self._make_config, self._make_fold_data = make_config, make_fold_data

    def model(self, **sections: Any) -> Regressor:
        config = self._make_config(**sections)
        self._fold_data = self._make_fold_data(config)
        model = build_regressor(config, self._fold_data.prepared, torch.full((2,), 3.0), (1.0, 5.0), seed=0)
        with torch.no_grad():
            model.head.output.weight.mul_(20)  # scores that depend on the essay, as after some training
        freeze_parameters(parameter_table(model, self._loss(config), config), 0)
        return model.train()

    def _loss(self, config: Config) -> Loss:
        return Loss(config.loss, self._fold_data.targets, self._fold_data.score_range)

    def gradients(
        self,
        model: Regressor,
        adversary: Adversary | None,
        micro_batches: list[Any] = WINDOW,
        precision: str = "fp32",
        scale: float = 1.0,
    ) -> dict[str, Tensor]:
        torch.manual_seed(0)
        scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        chosen = Precision(precision, torch.device("cpu"))  # type: ignore[arg-type]
        loss = self._loss(self._make_config())
        reader = EssayReader(self._fold_data.prepared, torch.device("cpu"))
        accumulate = partial(accumulate_gradients, model, reader, micro_batches, self._fold_data, loss, chosen, scaler)
        accumulate() if adversary is None else adversary.accumulate(accumulate)
        return {name: p.grad / scale for name, p in model.named_parameters() if p.grad is not None}


@pytest.fixture
def window(make_config: Callable[..., Config], make_fold_data: Callable[..., FoldData]) -> Window:
    return Window(make_config, make_fold_data)


def make_method(name: str, model: Regressor, **fields: Any) -> Adversary:
    config = TypeAdapter(AdversarialConfig).validate_python(METHODS[name] | fields)
    adversary = make_adversary(config, model, Loss(LossConfig(), ("a", "b"), (1.0, 5.0)), num_steps=4)
    assert adversary is not None
    return adversary


def flat(gradients: dict[str, Tensor]) -> Tensor:
    return torch.cat([gradients[name].flatten() for name in sorted(gradients)])


@pytest.mark.parametrize("name", METHODS)
class TestEveryMethod:
    def test_weights_have_their_old_bits_and_gradients_are_others(self, name: str, window: Window) -> None:
        model = window.model()
        before = {key: value.clone() for key, value in model.state_dict().items()}
        plain = window.gradients(window.model(), None)
        found = window.gradients(model, make_method(name, model))
        assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
        assert found.keys() == plain.keys()
        assert (flat(found) - flat(plain)).norm() > 1e-3 * flat(plain).norm()

    def test_the_loss_returned_is_the_plain_one(self, name: str, window: Window) -> None:
        model = window.model()
        calls: list[tuple[float, int]] = []

        def accumulate(perturbed_loss: object = None) -> tuple[Tensor, int]:
            model.head.output.weight.sum().backward()
            model.encoders["first"].backbone.get_input_embeddings().weight.sum().backward()
            calls.append((float(len(calls)), 7))
            return torch.tensor(calls[-1][0]), 7

        loss, num_tokens = make_method(name, model).accumulate(accumulate)
        assert (loss.item(), num_tokens) == (0.0, 7)
        assert len(calls) == (1 if name == "sift" else 2)

    def test_micro_batches_are_one_large_batch(
        self, name: str, window: Window, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # SiFT's noise, drawn for a micro-batch at once, here depends on the token alone.
        monkeypatch.setattr(torch, "randn_like", torch.sin)
        whole_model, model = window.model(), window.model()
        whole = window.gradients(whole_model, make_method(name, whole_model))
        pieces = [np.arange(3), np.arange(3, 6), np.arange(6, 8)]
        found = window.gradients(model, make_method(name, model), pieces)
        torch.testing.assert_close(flat(found), flat(whole), rtol=1e-3, atol=1e-5)

    def test_the_loss_scale_changes_nothing(self, name: str, window: Window) -> None:
        unscaled_model, model = window.model(), window.model()
        unscaled = window.gradients(unscaled_model, make_method(name, unscaled_model))
        found = window.gradients(model, make_method(name, model), scale=1024.0)
        torch.testing.assert_close(flat(found), flat(unscaled), rtol=1e-4, atol=1e-6)

    @pytest.mark.parametrize("precision", ["bf16", "fp16"])
    def test_it_is_not_lost_in_half_precision(self, name: str, window: Window, precision: str) -> None:
        # Autocast keeps half-precision copies of weights: those of the moved ones must not be the old ones.
        model, exact_model = window.model(), window.model()
        plain = flat(window.gradients(window.model(), None))
        exact = flat(window.gradients(exact_model, make_method(name, exact_model))) - plain
        half_plain = flat(window.gradients(window.model(), None, precision=precision, scale=256.0))
        found = flat(window.gradients(model, make_method(name, model), precision=precision, scale=256.0)) - half_plain
        assert nn.functional.cosine_similarity(found, exact, dim=0) > 0.9

    def test_frozen_parameters_are_never_moved(
        self, name: str, window: Window, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        freeze = {"num_layers": 1} if name == "fgm" else {"num_layers": 1, "embeddings": True}
        model = window.model(freeze=freeze)
        frozen = {key: p.clone() for key, p in model.named_parameters() if not p.requires_grad}
        outputs = model.outputs
        moved_at: list[set[str]] = []

        def watch(*inputs: Tensor) -> Tensor:
            moved_at.append({key for key, value in frozen.items() if not torch.equal(model.get_parameter(key), value)})
            return outputs(*inputs)

        monkeypatch.setattr(model, "outputs", watch)
        window.gradients(model, make_method(name, model))
        assert len(frozen) > 10
        assert moved_at == [set()] * (3 if name == "sift" else 2)
        assert all(model.get_parameter(key).grad is None for key in frozen)

    def test_recomputed_activations_change_nothing(self, name: str, window: Window) -> None:
        model, checkpointing = window.model(), window.model(backbone={"gradient_checkpointing": True})
        expected = window.gradients(model, make_method(name, model))
        found = window.gradients(checkpointing, make_method(name, checkpointing))
        torch.testing.assert_close(flat(found), flat(expected))

    @pytest.mark.parametrize(("start_frac", "start_step"), [(0.0, 0), (0.5, 2), (0.99, 3)])
    def test_it_starts_in_time_for_the_last_step(
        self, name: str, window: Window, start_frac: float, start_step: int
    ) -> None:
        assert make_method(name, window.model(), start_frac=start_frac).start_step == start_step


def test_awp_by_hand() -> None:
    # A matrix of norm 5 and a gradient along its second weight: .1 · 5 = .5 up, but at most .08 of 4.
    weight = nn.Parameter(torch.tensor([[3.0, 4.0]]))
    weight.grad = torch.tensor([[0.0, 2.0]])
    for eps, expected in [(1.0, 4.5), (0.08, 4.32)]:
        awp = Awp(AwpConfig(lr=0.1, eps=eps), [weight], num_steps=1)
        with moved([weight], awp._displacement):
            assert weight.flatten().tolist() == pytest.approx([3.0, expected])
        assert weight.flatten().tolist() == [3.0, 4.0]


def test_fgm_by_hand(window: Window) -> None:
    model = window.model()
    adversary = make_method("fgm", model, eps=0.5)
    weight_VD = model.encoders["first"].backbone.get_input_embeddings().weight
    before_VD = weight_VD.detach().clone()
    moved_by: list[Tensor] = []

    def accumulate(perturbed_loss: object = None) -> tuple[Tensor, int]:
        moved_by.append(weight_VD.detach() - before_VD)
        (3.0 * weight_VD[5, 0] + 4.0 * weight_VD[7, 1]).backward()
        return torch.zeros(()), 0

    adversary.accumulate(accumulate)
    expected_VD = torch.zeros_like(before_VD)
    expected_VD[5, 0], expected_VD[7, 1] = 0.3, 0.4
    torch.testing.assert_close(moved_by[1], expected_VD)
    assert weight_VD.grad is not None
    assert weight_VD.grad[5, 0].item() == 6.0  # the plain gradient, and the one at moved embeddings


@pytest.mark.parametrize("gradient", [[0.0, 0.0], [float("inf"), 1.0], [float("nan"), 1.0]])
@pytest.mark.parametrize("name", ["awp", "fgm"])
def test_without_a_direction_nothing_moves(window: Window, name: str, gradient: list[float]) -> None:
    adversary: Any = make_method(name, window.model())
    weight = nn.Parameter(torch.tensor([3.0, 4.0]))
    weight.grad = torch.tensor(gradient)
    displacement = adversary._displacement if name == "awp" else lambda _, g: adversary._eps * g / g.norm()
    with moved([weight], displacement):
        assert weight.tolist() == [3.0, 4.0]


def test_a_move_that_runs_out_of_memory_is_undone() -> None:
    weights = [nn.Parameter(torch.tensor([3.0, 4.0])) for _ in range(2)]
    for weight in weights:
        weight.grad = torch.ones(2)

    def displacement(weight: Tensor, gradient: Tensor) -> Tensor:
        if weight is weights[1]:
            assert weights[0].tolist() == [4.0, 5.0]
            raise torch.OutOfMemoryError
        return gradient

    with pytest.raises(torch.OutOfMemoryError), moved(weights, displacement):
        pass
    assert [weight.tolist() for weight in weights] == [[3.0, 4.0], [3.0, 4.0]]


def test_awp_steps_on_the_gradient_of_the_perturbed_loss_alone(window: Window) -> None:
    model, by_hand = window.model(), window.model()
    found = window.gradients(model, make_method("awp", model))
    plain = window.gradients(by_hand, None)
    with torch.no_grad():
        for name, parameter in by_hand.named_parameters():
            if parameter.ndim >= 2:
                step = 0.1 * parameter.norm() * plain[name] / plain[name].norm()
                parameter.add_(torch.minimum(torch.maximum(step, -0.1 * parameter.abs()), 0.1 * parameter.abs()))
    by_hand.zero_grad()
    torch.testing.assert_close(flat(found), flat(window.gradients(by_hand, None)))


def test_awp_before_a_backward_pass_is_a_mistake_and_not_silently_off(window: Window) -> None:
    # A popular form takes its step after zero_grad(set_to_none=True), from gradients that are not there.
    model = window.model()
    before = model.head.output.weight.clone()
    model.zero_grad(set_to_none=True)
    for parameter in model.parameters():
        if parameter.grad is not None:
            parameter.data.add_(1e-2 * parameter.grad)
    assert torch.equal(model.head.output.weight, before)
    with pytest.raises(AssertionError):
        make_method("awp", model).accumulate(lambda perturbed_loss=None: (torch.zeros(()), 0))


def test_sift_perturbs_normalised_embeddings_by_a_bounded_noise_and_one_step(window: Window) -> None:
    model = window.model()
    seen: list[Tensor] = []
    model.encoders["first"].backbone.get_submodule("embeddings.LayerNorm").register_forward_hook(
        lambda _, inputs, output: seen.append(inputs[0].detach())
    )
    window.gradients(model, make_method("sift", model, init=0.1, lr=0.5))
    clean, noisy, attacked = seen
    normal = nn.functional.layer_norm(clean, clean.shape[-1:])
    assert not torch.allclose(clean, normal, atol=0.1)
    noise = noisy - normal
    assert noise.std().item() == pytest.approx(0.1, rel=0.2)
    assert noise.abs().max().item() == pytest.approx(0.2, rel=1e-3)  # clamped at two standard deviations
    largest_BT = (attacked - noisy).abs().amax(dim=-1)
    assert largest_BT.amax().item() == pytest.approx(0.5, rel=1e-3)
    assert set(largest_BT.mul(10).round().flatten().tolist()) == {0.0, 5.0}  # padding has no gradient


def test_sift_teaches_the_embeddings_nothing_on_top(window: Window) -> None:
    model = window.model()
    plain, found = window.gradients(window.model(), None), window.gradients(model, make_method("sift", model))
    name = "encoders.first.backbone.embeddings.word_embeddings.weight"
    torch.testing.assert_close(found[name], plain[name])


@pytest.mark.parametrize("name", ["awp", "sift"])
def test_frozen_embeddings_are_no_hindrance(window: Window, name: str) -> None:
    model = window.model(freeze={"embeddings": True})
    assert flat(window.gradients(model, make_method(name, model))).isfinite().all()
