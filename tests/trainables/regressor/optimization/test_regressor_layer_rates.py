"""How learning rates fall from layer to layer, against tables by hand."""

from typing import Any

import pytest

from ell_tune.config import validate
from ell_tune.errors import BadConfig
from trainables.regressor.optimization.optimizers import OptimizerConfig


@pytest.mark.parametrize(
    ("layer_rates", "expected"),
    [
        ({"name": "decay"}, [1.0] * 7),
        ({"name": "decay", "decay": 0.5}, [1.0, 0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625]),
        # rhtsingh's three groups, 2.6 apart; the embeddings with the lowest.
        ({"name": "grouped"}, [1.0, 1.0, 0.384615, 0.384615, 0.147929, 0.147929, 0.147929]),
        ({"name": "grouped", "num_groups": 2, "ratio": 10.0}, [1.0, 1.0, 1.0, 0.1, 0.1, 0.1, 0.1]),
        ({"name": "grouped", "num_groups": 6, "ratio": 2.0}, [1.0, 0.5, 0.25, 0.125, 0.0625, 0.03125, 0.03125]),
        # Six layers in four groups: 2, 1, 2, 1 from the bottom.
        ({"name": "grouped", "num_groups": 4, "ratio": 2.0}, [1.0, 0.5, 0.5, 0.25, 0.125, 0.125, 0.125]),
        ({"name": "endpoint"}, [1.0, 0.890899, 0.793701, 0.707107, 0.629961, 0.561231, 0.5]),
        ({"name": "endpoint", "bottom_frac": 1.0}, [1.0] * 7),
    ],
    ids=str,
)
def test_rates_of_six_layers_by_hand(layer_rates: dict[str, Any], expected: list[float]) -> None:
    rates = validate(OptimizerConfig, {"layer_rates": layer_rates}).layer_rates
    # From the top layer down to the embeddings.
    assert [rates.factor(depth, 6) for depth in range(6, -1, -1)] == pytest.approx(expected, abs=1e-6)


def test_an_endpoint_is_the_same_for_any_depth() -> None:
    rates = validate(OptimizerConfig, {"layer_rates": {"name": "endpoint", "bottom_frac": 0.3}}).layer_rates
    for num_layers in (1, 6, 24):
        assert rates.factor(0, num_layers) == pytest.approx(0.3)
        assert rates.factor(num_layers, num_layers) == 1.0


def test_more_groups_than_layers() -> None:
    rates = validate(OptimizerConfig, {"layer_rates": {"name": "grouped", "num_groups": 3}}).layer_rates
    with pytest.raises(BadConfig, match="optimizer.layer_rates.num_groups: .* which is 2, .* but it is 3"):
        rates.factor(2, num_layers=2)
