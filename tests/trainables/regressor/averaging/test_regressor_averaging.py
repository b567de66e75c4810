"""SWA and EMA, each against numbers by hand and against the forms that are wrong."""

from collections.abc import Callable

import pytest
import torch
from torch.optim.swa_utils import SWALR

from ell_tune.trainable import FoldData
from trainables.regressor import Config
from trainables.regressor.averaging.averages import EmaConfig, SwaConfig, WeightAverages
from trainables.regressor.building import build_regressor
from trainables.regressor.model import Regressor
from trainables.regressor.optimization.schedule import first_step, set_learning_rates


@pytest.fixture
def model(make_config: Callable[..., Config], make_fold_data: Callable[..., FoldData]) -> Regressor:
    config = make_config()
    return build_regressor(config, make_fold_data(config).prepared, torch.zeros(2), (1.0, 5.0), seed=0)


def set_bias(model: Regressor, value: float) -> None:
    torch.nn.init.constant_(model.head.output.bias, value)


def averages_over(model: Regressor, averages: WeightAverages, biases: list[float]) -> dict[str, list[float | None]]:
    """Each average's bias after each step, where the model's own bias is `biases`."""
    seen: dict[str, list[float | None]] = {name: [] for name in averages.by_name}
    for step, bias in enumerate(biases):
        set_bias(model, bias)
        averages.update(model, step)
        models = averages.models()
        for name, values in seen.items():
            values.append(models[name].head.output.bias[0].item() if name in models else None)
    return seen


@pytest.mark.parametrize(
    ("start_frac", "num_steps", "start_step"), [(0.0, 4, 0), (0.5, 5, 3), (0.75, 4, 3), (0.99, 4, 3), (0.2, 1, 0)]
)
def test_what_starts_late_starts_in_time_for_the_last_step(start_frac: float, num_steps: int, start_step: int) -> None:
    assert first_step(start_frac, num_steps) == start_step


def test_swa_by_hand(model: Regressor) -> None:
    averages = WeightAverages(SwaConfig(start_frac=0.5), None, num_steps=4)
    assert averages_over(model, averages, [8.0, 4.0, 2.0, 1.0]) == {"swa": [None, None, 2.0, 1.5]}


def test_ema_by_hand(model: Regressor) -> None:
    averages = WeightAverages(None, EmaConfig(decay=0.75), num_steps=4)
    # It begins as the first weights: 8; .75 · 8 + .25 · 4 = 7; .75 · 7 + .25 · 2 = 5.75; .75 · 5.75 + .25 · 1 = 4.5625.
    assert averages_over(model, averages, [8.0, 4.0, 2.0, 1.0]) == {"ema": [8.0, 7.0, 5.75, 4.5625]}


def test_a_late_ema_knows_nothing_from_before(model: Regressor) -> None:
    averages = WeightAverages(None, EmaConfig(decay=0.5, start_frac=0.5), num_steps=4)
    assert averages_over(model, averages, [8.0, 4.0, 2.0, 1.0]) == {"ema": [None, None, 2.0, 1.5]}


def test_both_averages_leave_the_model_alone(model: Regressor) -> None:
    averages = WeightAverages(SwaConfig(start_frac=0.0), EmaConfig(decay=0.5), num_steps=3)
    before = model.head.output.weight.clone()
    seen = averages_over(model, averages, [0.0, 3.0, 6.0])
    assert seen == {"swa": [0.0, 1.5, 3.0], "ema": [0.0, 1.5, 3.75]}
    assert model.head.output.bias.tolist() == [6.0, 6.0]
    assert torch.equal(model.head.output.weight, before)
    # What did not change has no rounding in its average.
    assert all(torch.equal(averaged.head.output.weight, before) for averaged in averages.models().values())


def test_swa_takes_the_final_weights(model: Regressor) -> None:
    biases = [8.0, 4.0, 2.0, 1.0]
    swa = averages_over(model, WeightAverages(SwaConfig(start_frac=0.75), None, num_steps=4), biases)["swa"]
    # Lightning's callback takes snapshots at the starts of epochs int(.75 · 4) - 1 … 3 and ends with their mean: what
    # the last epoch learned is lost.
    at_starts = [0.0, *biases[:-1]]
    lightning = sum(at_starts[2:]) / 2
    assert (swa[-1], lightning) == (1.0, 3.0)


def test_swa_holds_a_fraction_of_the_peak_from_its_start() -> None:
    averages = WeightAverages(SwaConfig(start_frac=0.5, lr_factor=0.1), None, num_steps=4)
    assert [averages.learning_rate_factor(step, 0.7) for step in range(4)] == [0.7, 0.7, 0.1, 0.1]
    only_averaging = WeightAverages(SwaConfig(start_frac=0.5), EmaConfig(), num_steps=4)
    assert [only_averaging.learning_rate_factor(step, 0.7) for step in range(4)] == [0.7] * 4


def test_swa_keeps_layer_wise_decay_which_torchs_swalr_erases() -> None:
    def make_optimizer() -> torch.optim.SGD:
        rates = [1e-3, 1e-4, 1e-5]
        groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr, "initial_lr": lr} for lr in rates]
        return torch.optim.SGD(groups)

    optimizer = make_optimizer()
    scheduler = SWALR(optimizer, swa_lr=5e-4, anneal_epochs=1)
    for _ in range(2):
        optimizer.step()
        scheduler.step()
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([5e-4] * 3)
    ours = make_optimizer()
    averages = WeightAverages(SwaConfig(start_frac=0.0, lr_factor=0.5), None, num_steps=1)
    set_learning_rates(ours, averages.learning_rate_factor(0, scheduled=1.0))
    assert [group["lr"] for group in ours.param_groups] == pytest.approx([5e-4, 5e-5, 5e-6])
