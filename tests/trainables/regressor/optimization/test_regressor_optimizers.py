"""The optimisers: their numbers, and what all of them must do."""

import sys
from typing import Any

import bitsandbytes
import pytest
import torch
from torch import Tensor, nn

from ell_tune.config import validate
from ell_tune.errors import BadConfig
from trainables.regressor.optimization.optimizers import OptimizerConfig, make_optimizer

ON_CPU: list[dict[str, Any]] = [
    {"name": "adamw"},
    {"name": "adamw", "beta1": 0.5, "beta2": 0.9, "eps": 1e-4},
    {"name": "adafactor"},
    {"name": "lion"},
]


def optimizer_of(algorithm: dict[str, Any], parameters: list[nn.Parameter], **group: float) -> torch.optim.Optimizer:
    config = validate(OptimizerConfig, {"algorithm": algorithm})
    return make_optimizer(config.algorithm, [{"params": parameters, "lr": 0.1, "weight_decay": 0.0, **group}])


def gradient(step: int) -> Tensor:
    return torch.tensor([[1.0, -2.0], [0.5, 0.25 * step]])


def weight_after(num_steps: int, algorithm: dict[str, Any], **group: float) -> Tensor:
    weight = nn.Parameter(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    optimizer = optimizer_of(algorithm, [weight], **group)
    for step in range(num_steps):
        weight.grad = gradient(step)
        optimizer.step()
    return weight.detach()


def test_adamw_by_hand() -> None:
    found = weight_after(3, {"name": "adamw", "beta1": 0.8, "beta2": 0.9, "eps": 0.001}, weight_decay=0.2)
    weight = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    mean, square = torch.zeros(2, 2), torch.zeros(2, 2)
    for t in (1, 2, 3):
        mean = 0.8 * mean + 0.2 * gradient(t - 1)
        square = 0.9 * square + 0.1 * gradient(t - 1) ** 2
        # The decay is decoupled: a part of the weight, whatever the gradient.
        weight = weight - 0.1 * 0.2 * weight
        weight = weight - 0.1 * (mean / (1 - 0.8**t)) / ((square / (1 - 0.9**t)).sqrt() + 0.001)
    torch.testing.assert_close(found, weight)


def test_adamw_is_torchs_with_eps_1e_6() -> None:
    weight = nn.Parameter(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    theirs = torch.optim.AdamW([weight], lr=0.1, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.01)
    for step in range(5):
        weight.grad = gradient(step)
        theirs.step()
    assert torch.equal(weight_after(5, {"name": "adamw"}, weight_decay=0.01), weight)


def test_moments_are_corrected_for_starting_at_zero() -> None:
    # BERT's own Adam is not: its first step would be (1 - .9) / sqrt(1 - .999) = 3.16 times as long.
    moved = torch.tensor(1.0) - weight_after(1, {"name": "adamw"})[0, 0]
    assert moved.item() == pytest.approx(0.1, rel=1e-4)


def test_lion_by_hand() -> None:
    found = weight_after(3, {"name": "lion", "beta1": 0.6, "beta2": 0.9}, weight_decay=0.2)
    weight, mean = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.zeros(2, 2)
    for step in range(3):
        direction = 0.6 * mean + 0.4 * gradient(step)
        weight = weight * (1 - 0.1 * 0.2) - 0.1 * direction.sign()
        mean = 0.9 * mean + 0.1 * gradient(step)
    torch.testing.assert_close(found, weight)


def test_adafactor_by_hand() -> None:
    # The first step's mean square is the gradient's own, in rows and columns; its rate is absolute.
    square = gradient(1) ** 2
    row, column = square.mean(dim=1, keepdim=True), square.mean(dim=0, keepdim=True)
    update = gradient(1) / (row * column / row.mean()).sqrt()
    update = update / max(1.0, update.square().mean().sqrt().item() / 0.5)
    weight = nn.Parameter(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    optimizer = optimizer_of({"name": "adafactor", "clip_threshold": 0.5}, [weight], weight_decay=0.2)
    weight.grad = gradient(1)
    optimizer.step()
    expected = torch.tensor([[1.0, 2.0], [3.0, 4.0]]) * (1 - 0.1 * 0.2) - 0.1 * update
    torch.testing.assert_close(weight.detach(), expected)


def test_adafactor_keeps_rows_and_columns_only() -> None:
    weight = nn.Parameter(torch.ones(30, 20))
    optimizer = optimizer_of({"name": "adafactor"}, [weight])
    weight.grad = torch.ones(30, 20)
    optimizer.step()
    assert sum(value.numel() for value in optimizer.state[weight].values() if isinstance(value, Tensor)) < 60


@pytest.mark.parametrize("algorithm", ON_CPU, ids=str)
def test_without_a_gradient_nothing_moves_or_decays(algorithm: dict[str, Any]) -> None:
    still, moving = nn.Parameter(torch.ones(3, 3)), nn.Parameter(torch.ones(3, 3))
    optimizer = optimizer_of(algorithm, [still, moving], weight_decay=0.5)
    moving.grad = torch.ones(3, 3)
    optimizer.step()
    assert torch.equal(still, torch.ones(3, 3)) and still not in optimizer.state
    assert moving.max() < 1.0


@pytest.mark.parametrize("algorithm", ON_CPU, ids=str)
def test_weight_decay_of_a_group_counts(algorithm: dict[str, Any]) -> None:
    # `weight_decay_rate`, as in BERT's code, would be taken for a key of the user's own and do nothing.
    plain, decayed = (weight_after(1, algorithm, weight_decay=decay) for decay in (0.0, 0.5))
    misnamed = weight_after(1, algorithm, weight_decay_rate=0.5)
    torch.testing.assert_close(plain - decayed, 0.1 * 0.5 * torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    assert torch.equal(misnamed, plain)


@pytest.mark.parametrize("algorithm", ON_CPU, ids=str)
def test_the_state_can_be_saved_and_read_without_code(algorithm: dict[str, Any], tmp_path: Any) -> None:
    weights = [nn.Parameter(torch.ones(2, 2)) for _ in range(2)]
    optimizers = [optimizer_of(algorithm, [weight]) for weight in weights]
    for step in range(4):
        for weight, optimizer in zip(weights, optimizers, strict=True):
            weight.grad = gradient(step)
            optimizer.step()
        torch.save(optimizers[0].state_dict(), tmp_path / "state.pt")
        optimizers[1] = optimizer_of(algorithm, [weights[1]])
        optimizers[1].load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert torch.equal(*weights)


def test_8_bit_adamw_is_that_of_bitsandbytes() -> None:
    weight = nn.Parameter(torch.ones(2, device="meta"))  # on no CPU
    optimizer = optimizer_of({"name": "adamw_8bit", "beta2": 0.99}, [weight], weight_decay=0.2)
    assert type(optimizer) is bitsandbytes.optim.AdamW8bit
    (group,) = optimizer.param_groups
    assert (group["betas"], group["eps"]) == ((0.9, 0.99), 1e-6)
    assert (group["lr"], group["initial_lr"], group["weight_decay"]) == (0.1, 0.1, 0.2)


def test_8_bit_adamw_needs_a_gpu() -> None:
    with pytest.raises(BadConfig, match="optimizer.algorithm: adamw_8bit needs a GPU.*choose adamw or adafactor"):
        optimizer_of({"name": "adamw_8bit"}, [nn.Parameter(torch.ones(2))])


@pytest.mark.parametrize("name", ["adamw_8bit", "lion"])
def test_an_optimiser_without_its_package(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(BadConfig, match=rf"{name} needs the package bitsandbytes.*pip install 'ell-tune\[gpu\]'"):
        optimizer_of({"name": name}, [nn.Parameter(torch.ones(2))])
