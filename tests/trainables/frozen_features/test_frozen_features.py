"""From encoded essays to feature vectors: what stands where, at what length."""

from typing import Any

import numpy as np
import pytest

from ell_tune.config import validate
from ell_tune.errors import BadConfig
from trainables.frozen_features.config import Config
from trainables.frozen_features.encoding import EncodedEssays
from trainables.frozen_features.features import essay_features


def encoded_essays(first: float) -> EncodedEssays:
    """Two essays in three hidden states of width 2; the first number says whose, the sign and the tenth say which."""
    state_NLD = first + np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    return EncodedEssays(
        state_NLD, state_NLD + 0.25, state_NLD + 0.5, -state_NLD, (), {}, num_parameters=10, seconds_per_essay=0.1
    )


ENCODED = {"encoder": encoded_essays(0), "second": encoded_essays(100), "third": encoded_essays(200)}


def features(**values: Any) -> list[list[float]]:
    return essay_features(validate(Config, {"scaling": "none"} | values), ENCODED).tolist()


@pytest.mark.parametrize(
    ("encoder", "expected"),
    [
        ({}, [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]),
        ({"layers": {"name": "last"}}, [[4, 5], [10, 11]]),
        ({"layers": {"name": "last"}, "pooling": "max"}, [[4.5, 5.5], [10.5, 11.5]]),
        ({"layers": {"name": "last"}, "pooling": "mean_max"}, [[4, 5, 4.5, 5.5], [10, 11, 10.5, 11.5]]),
        ({"layers": {"name": "last"}, "pooling": "mean_std"}, [[4, 5, 4.25, 5.25], [10, 11, 10.25, 11.25]]),
        (
            {"layers": {"name": "span", "first": 0, "num_layers": 2}, "pooling": "cls"},
            [[0, -1, -2, -3], [-6, -7, -8, -9]],
        ),
    ],
)
def test_layers_stand_side_by_side_the_lowest_first(encoder: dict[str, Any], expected: list[list[float]]) -> None:
    assert features(encoder=encoder) == expected


def test_encoders_stand_in_the_order_of_their_fields_and_can_be_left_out() -> None:
    last = {"layers": {"name": "last"}}
    assert features(third=last, second=last, encoder=last) == [
        [4, 5, 104, 105, 204, 205],
        [10, 11, 110, 111, 210, 211],
    ]
    assert features(third=last, encoder=last, second="off") == [[4, 5, 204, 205], [10, 11, 210, 211]]


def test_l2_gives_every_encoders_part_length_one() -> None:
    config = validate(Config, {"second": {"layers": {"name": "last"}, "pooling": "cls"}})
    assert config.scaling == "l2"
    vectors = essay_features(config, ENCODED)
    np.testing.assert_allclose(np.linalg.norm(vectors[:, :6], axis=1), 1)
    np.testing.assert_allclose(np.linalg.norm(vectors[:, 6:], axis=1), 1)
    np.testing.assert_allclose(vectors[0, :6], np.arange(6) / np.sqrt(55))


def test_layers_that_an_encoder_lacks_are_refused_by_field() -> None:
    with pytest.raises(BadConfig, match="second.layers: .* 0 .embeddings. to 2 .top layer., but 3 to 3 are asked for"):
        features(second={"layers": {"name": "span", "first": 3}})


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_features_that_are_not_finite_are_refused_by_layer(broken: float) -> None:
    encoded = encoded_essays(0)
    encoded.mean_NLD[1, 1:, 0] = broken
    config = validate(Config, {"encoder": {"backbone": {"name": "deep"}}})
    message = "encoder.layers: .*hidden state 1 of 'deep' is NaN or infinite for 1 of 2 essays. Use lower layers"
    with pytest.raises(BadConfig, match=message):
        essay_features(config, {"encoder": encoded})
    lowest = validate(Config, {"encoder": {"layers": {"name": "span", "first": 0}}, "scaling": "none"})
    assert essay_features(lowest, {"encoder": encoded}).tolist() == [[0, 1], [6, 7]]
