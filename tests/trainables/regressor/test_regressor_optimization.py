"""SWA's learning rates and means, each against numbers by hand."""

from collections.abc import Callable

import pytest
import torch

from trainables.regressor.averaging import SwaConfig, WeightAverage
from trainables.regressor.model import Regressor

MakeModel = Callable[..., Regressor]


def test_swa_holds_a_fraction_of_the_peak_from_its_start() -> None:
    average = WeightAverage(SwaConfig(start_frac=0.5, lr_factor=0.1), num_steps=4)
    assert [average.learning_rate_factor(step, 0.7) for step in range(4)] == [0.7, 0.7, 0.1, 0.1]
    only_averaging = WeightAverage(SwaConfig(start_frac=0.5), num_steps=4)
    assert [only_averaging.learning_rate_factor(step, 0.7) for step in range(4)] == [0.7] * 4


@pytest.mark.parametrize(
    ("start_frac", "num_steps", "start_step"), [(0.0, 4, 0), (0.5, 5, 3), (0.75, 4, 3), (0.99, 4, 3)]
)
def test_swa_starts_in_time_for_the_last_step(start_frac: float, num_steps: int, start_step: int) -> None:
    assert WeightAverage(SwaConfig(start_frac=start_frac), num_steps).start_step == start_step


def test_swa_is_the_mean_of_the_weights_after_each_step(make_model: MakeModel) -> None:
    model = make_model()
    average = WeightAverage(SwaConfig(start_frac=0.4), num_steps=5)
    weights = []
    for step in range(5):
        with torch.no_grad():
            model.head.weight.add_(step + 1.0)
        average.update(model, step)
        weights.append(model.head.weight.clone())
        assert (average.model is None) == (step < 2)
    assert average.model is not None
    torch.testing.assert_close(average.model.head.weight, torch.stack(weights[2:]).mean(dim=0))
    assert torch.equal(model.head.weight, weights[-1])
