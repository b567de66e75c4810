"""Which hidden states a config chooses."""

import pytest

from ell_tune.config import InvalidConfig, validate
from ell_tune.errors import BadConfig
from trainables.frozen_features.encoding import EncoderConfig
from trainables.frozen_features.layers import chosen_layers


@pytest.mark.parametrize(
    ("layers", "chosen"),
    [
        ({"name": "all"}, [0, 1, 2, 3, 4, 5, 6]),
        ({"name": "last"}, [6]),
        ({"name": "last", "num_layers": 3}, [4, 5, 6]),
        ({"name": "last", "num_layers": 7}, [0, 1, 2, 3, 4, 5, 6]),
        ({"name": "span", "first": 3}, [3]),
        ({"name": "span", "first": 0, "num_layers": 2}, [0, 1]),
        ({"name": "span", "first": 5, "num_layers": 2}, [5, 6]),
    ],
)
def test_the_chosen_layers(layers: dict[str, object], chosen: list[int]) -> None:
    config = validate(EncoderConfig, {"layers": layers})
    assert list(chosen_layers(config.layers, 7, "encoder.layers")) == chosen


@pytest.mark.parametrize(
    ("layers", "asked"),
    [
        ({"name": "last", "num_layers": 8}, "-1 to 6"),
        ({"name": "span", "first": 7}, "7 to 7"),
        ({"name": "span", "first": 5, "num_layers": 3}, "5 to 7"),
    ],
)
def test_layers_that_do_not_exist_are_named(layers: dict[str, object], asked: str) -> None:
    config = validate(EncoderConfig, {"layers": layers})
    message = rf"second.layers: .* which are 0 \(embeddings\) to 6 \(top layer\), but {asked} are asked for. Lower"
    with pytest.raises(BadConfig, match=message):
        chosen_layers(config.layers, 7, "second.layers")


def test_an_unknown_choice_is_named() -> None:
    with pytest.raises(InvalidConfig, match="layers: `name` must be one of 'all', 'last', 'span', got 'first'"):
        validate(EncoderConfig, {"layers": {"name": "first"}})
