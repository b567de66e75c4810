"""Fitted values against scikit-learn's own pipelines, and arrays that come back from a file."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import Ridge
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR

from ell_tune.config import InvalidConfig, validate
from trainables.frozen_features.config import Config
from trainables.frozen_features.estimators import LinearEstimator, RbfEstimator
from trainables.frozen_features.scaling import fit_scaler
from trainables.frozen_features.scorer import Scorer, fit_scorer, read_scorer

NUM_FEATURES = 12
ESTIMATORS: list[dict[str, Any]] = [
    {"name": "svr"},
    {"name": "svr", "C": 5.0, "epsilon": 0.0, "kernel": {"name": "linear"}},
    {"name": "ridge", "alpha": 0.5},
    {"name": "kernel_ridge", "alpha": 0.3, "gamma": 0.7},
]
Arrays = NDArray[np.float64]


@pytest.fixture
def features() -> Arrays:
    random = np.random.default_rng(0)
    return random.normal(3.0, np.arange(1, NUM_FEATURES + 1), size=(60, NUM_FEATURES))


@pytest.fixture
def labels(features: Arrays) -> NDArray[np.float32]:
    standardised = (features - features.mean(axis=0)) / features.std(axis=0)
    return np.stack([3 + standardised[:, 0], 2 + np.tanh(standardised[:, 1])], axis=1).astype(np.float32)


def scorer_of(estimator: dict[str, Any], scaling: str, features: Arrays, labels: NDArray[np.float32]) -> Scorer:
    config = validate(Config, {"estimator": estimator, "scaling": scaling})
    return fit_scorer(config, features[:40], labels[:40])


def test_ridge_is_ridge_on_standardised_features(features: Arrays, labels: NDArray[np.float32]) -> None:
    direct = make_pipeline(StandardScaler(), Ridge(alpha=0.5 * NUM_FEATURES)).fit(features[:40], labels[:40])
    ours = scorer_of({"name": "ridge", "alpha": 0.5}, "standard", features, labels)
    np.testing.assert_allclose(ours.predict(features[40:]), direct.predict(features[40:]), atol=1e-5)


@pytest.mark.parametrize("kernel", ["rbf", "linear"])
def test_svr_is_one_svr_for_each_target(kernel: str, features: Arrays, labels: NDArray[np.float32]) -> None:
    # Standardised features have variance 1, so that scikit-learn's gamma="scale" is our gamma of 1, and a linear
    # kernel over NUM_FEATURES features is NUM_FEATURES times ours.
    C = 2.0 if kernel == "rbf" else 2.0 / NUM_FEATURES
    svr = SVR(kernel=kernel, C=C, epsilon=0.05, gamma="scale", tol=1e-6)
    direct = make_pipeline(StandardScaler(), MultiOutputRegressor(svr)).fit(features[:40], labels[:40])
    estimator = {"name": "svr", "C": 2.0, "epsilon": 0.05, "kernel": {"name": kernel}}
    ours = scorer_of(estimator, "standard", features, labels)
    # libsvm ends within a tolerance of .001 of the optimum.
    np.testing.assert_allclose(ours.predict(features[40:]), direct.predict(features[40:]), atol=4e-3)


def test_kernel_ridge_is_kernel_ridge_on_centred_scores(features: Arrays, labels: NDArray[np.float32]) -> None:
    mean = labels[:40].mean(axis=0, dtype=np.float64)
    kernel_ridge = KernelRidge(kernel="rbf", alpha=0.3, gamma=0.7 / NUM_FEATURES)
    direct = make_pipeline(StandardScaler(), kernel_ridge).fit(features[:40], labels[:40] - mean)
    ours = scorer_of({"name": "kernel_ridge", "alpha": 0.3, "gamma": 0.7}, "standard", features, labels)
    np.testing.assert_allclose(ours.predict(features[40:]), direct.predict(features[40:]) + mean, atol=1e-5)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_fitted_scorer_comes_back_from_its_file_to_the_last_bit(
    estimator: dict[str, Any], features: Arrays, labels: NDArray[np.float32], tmp_path: Path
) -> None:
    scorer = scorer_of(estimator, "standard", features, labels)
    scorer.write(tmp_path / "scorer.safetensors")
    read = read_scorer(tmp_path / "scorer.safetensors")
    assert type(read.estimator) is type(scorer.estimator)
    assert read.num_targets == 2
    assert np.array_equal(read.predict(features), scorer.predict(features))


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("scaling", ["none", "standard"])
def test_hyperparameters_mean_the_same_in_any_unit(
    estimator: dict[str, Any], scaling: str, features: Arrays, labels: NDArray[np.float32]
) -> None:
    ours = scorer_of(estimator, scaling, features, labels).predict(features)
    other_unit = scorer_of(estimator, scaling, features / 64 + 5, labels).predict(features / 64 + 5)
    np.testing.assert_allclose(other_unit, ours, atol=2e-3)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_target_is_fitted_as_if_it_were_alone(
    estimator: dict[str, Any], features: Arrays, labels: NDArray[np.float32]
) -> None:
    together = scorer_of(estimator, "standard", features, labels).predict(features)
    alone = scorer_of(estimator, "standard", features, labels[:, 1:]).predict(features)
    np.testing.assert_allclose(together[:, 1:], alone, atol=1e-6)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_targets_without_spread_are_predicted_as_constants(
    estimator: dict[str, Any], features: Arrays, tmp_path: Path
) -> None:
    labels = np.tile(np.float32([3.0, 2.5]), (60, 1))
    scorer = scorer_of(estimator, "standard", features, labels)
    scorer.write(tmp_path / "scorer.safetensors")
    # An SVR may be off by its epsilon.
    predicted = read_scorer(tmp_path / "scorer.safetensors").predict(features[40:])
    np.testing.assert_allclose(predicted, labels[40:], atol=0.101)


def test_only_the_essays_that_count_are_kept(features: Arrays, labels: NDArray[np.float32]) -> None:
    scorer = scorer_of({"name": "svr", "epsilon": 0.5}, "standard", features, labels)
    assert isinstance(scorer.estimator, RbfEstimator)
    assert 0 < len(scorer.estimator.vectors_MP) < 40
    linear = scorer_of({"name": "svr", "kernel": {"name": "linear"}}, "standard", features, labels)
    assert isinstance(linear.estimator, LinearEstimator)
    assert linear.estimator.weights_PC.shape == (NUM_FEATURES, 2)


def test_scaled_features_are_centred_with_a_mean_squared_length_of_one(features: Arrays) -> None:
    for scaling in ("none", "standard"):
        scaled = fit_scaler(scaling, features).scale(features)
        np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-12)
        assert np.mean(np.sum(scaled**2, axis=1)) == pytest.approx(1)
    np.testing.assert_allclose(scaled.std(axis=0), NUM_FEATURES**-0.5)


def test_features_without_spread_become_zero_and_do_not_count() -> None:
    random = np.random.default_rng(0)
    varying = random.normal(size=(20, 3))
    with_constant = np.concatenate([varying, np.full((20, 1), 0.1)], axis=1)
    for scaling in ("none", "standard"):
        scaled = fit_scaler(scaling, with_constant).scale(with_constant)
        np.testing.assert_allclose(scaled[:, :3], fit_scaler(scaling, varying).scale(varying))
        np.testing.assert_allclose(scaled[:, 3], 0, atol=1e-15)
    same = np.full((5, 2), 0.1)
    np.testing.assert_allclose(fit_scaler("standard", same).scale(same), 0, atol=1e-15)


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        ({"name": "svm"}, "estimator: `name` must be one of 'svr', 'ridge', 'kernel_ridge', got 'svm'"),
        ({"name": "ridge", "C": 1.0}, "estimator.C: ridge has no such field, but svr has"),
        ({"name": "svr", "C": 0.0}, "estimator.C: .*at least 0.001 and at most .*, got 0.0"),
        (
            {"name": "svr", "kernel": {"name": "linear", "gamma": 1.0}},
            "estimator.kernel.gamma: linear has no such field, but rbf has",
        ),
    ],
)
def test_illegal_estimators_are_named(estimator: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidConfig, match=message):
        validate(Config, {"estimator": estimator})
