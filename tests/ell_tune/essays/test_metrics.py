"""The score against worked examples and the properties that an error measure must have."""

from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from ell_tune.essays.metrics import mcrmse, rmse_per_target

FloatArray = NDArray[np.float64]


def _score_arrays(shape: tuple[int, int]) -> st.SearchStrategy[FloatArray]:
    return arrays(np.float64, shape, elements=st.floats(-100, 100))


_shapes = st.tuples(st.integers(1, 8), st.integers(1, 6))
_pairs = _shapes.flatmap(lambda shape: st.tuples(_score_arrays(shape), _score_arrays(shape)))


def test_worked_example() -> None:
    labels = [[1.0, 2.0], [3.0, 4.0]]
    predictions = [[1.0, 3.0], [5.0, 7.0]]
    # Errors 0, 2 → sqrt(4/2); errors 1, 3 → sqrt(10/2).
    assert rmse_per_target(labels, predictions).tolist() == pytest.approx([2**0.5, 5**0.5])
    assert mcrmse(labels, predictions) == pytest.approx((2**0.5 + 5**0.5) / 2)


@given(_pairs)
def test_is_a_symmetric_error_measure(pair: tuple[FloatArray, FloatArray]) -> None:
    labels, predictions = pair
    assert mcrmse(labels, labels) == 0
    assert mcrmse(labels, predictions) == mcrmse(predictions, labels)
    errors = np.abs(labels - predictions)
    assert errors.mean() - 1e-9 <= mcrmse(labels, predictions) <= errors.max() + 1e-9


@given(_pairs, st.floats(-10, 10), st.randoms(use_true_random=False))
def test_shift_scale_and_order_of_essays(pair: tuple[FloatArray, FloatArray], shift: float, random: Random) -> None:
    labels, predictions = pair
    expected = rmse_per_target(labels, predictions)
    order = list(range(len(labels)))
    random.shuffle(order)
    np.testing.assert_allclose(rmse_per_target(labels[order], predictions[order]), expected, atol=1e-9)
    np.testing.assert_allclose(rmse_per_target(labels + shift, predictions + shift), expected, atol=1e-9)
    np.testing.assert_allclose(rmse_per_target(2 * labels, 2 * predictions), 2 * expected, atol=1e-9)


@given(_shapes, st.floats(0, 10))
def test_a_constant_error_is_the_score(shape: tuple[int, int], error: float) -> None:
    assert mcrmse(np.zeros(shape), np.full(shape, -error)) == pytest.approx(error)


def test_computes_in_float64() -> None:
    # In float16 the squares overflow at 256.
    labels = np.zeros((1000, 1), dtype=np.float16)
    assert mcrmse(labels, np.full((1000, 1), 300, dtype=np.float16)) == 300.0
    assert rmse_per_target(labels, labels).dtype == np.float64


def test_a_diverged_prediction_is_not_hidden() -> None:
    labels = np.ones((3, 2))
    predictions = np.array([[1, 1], [1, np.nan], [1, 1]])
    assert rmse_per_target(labels, predictions)[0] == 0
    assert np.isnan(mcrmse(labels, predictions))
    assert mcrmse(labels, np.full((3, 2), np.inf)) == np.inf


@pytest.mark.parametrize(
    ("labels_shape", "predictions_shape"), [((4, 2), (4, 1)), ((4, 2), (2,)), ((4,), (4,)), ((0, 2), (0, 2))]
)
def test_never_broadcasts(labels_shape: tuple[int, ...], predictions_shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"one shape \[num_essays, num_targets\]") as error:
        mcrmse(np.ones(labels_shape), np.ones(predictions_shape))
    assert str(labels_shape) in str(error.value) and str(predictions_shape) in str(error.value)
