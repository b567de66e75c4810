"""What is fitted on the features: SVR, ridge or kernel ridge, each target for itself.

All that a fitted one is are a few arrays, so that it can be kept without pickle.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import Ridge
from sklearn.metrics.pairwise import linear_kernel, rbf_kernel
from sklearn.svm import SVR

from ell_tune.config import StrictConfig, one_of


class LinearKernel(StrictConfig):
    """The dot product of two essays' features."""

    name: Literal["linear"] = "linear"


class RbfKernel(StrictConfig):
    """exp(-gamma · squared distance); two essays' mean squared distance is 2."""

    name: Literal["rbf"] = "rbf"
    gamma: float = Field(default=1.0, ge=1e-4, le=100.0, description="the higher, the more local; 1 is `scale`")


class SvrConfig(StrictConfig):
    """Support vector regression, as in RAPIDS SVR."""

    name: Literal["svr"] = "svr"
    C: float = Field(default=1.0, ge=1e-3, le=1e3, description="the weight of errors; the lower, the smoother")
    epsilon: float = Field(default=0.1, ge=0.0, le=1.0, description="errors below it, in score points, cost nothing")
    kernel: one_of(RbfKernel, LinearKernel) = Field(  # type: ignore[valid-type]
        default=RbfKernel(), description="how alike two essays are"
    )


class RidgeConfig(StrictConfig):
    """Linear regression with a penalty on squared weights."""

    name: Literal["ridge"] = "ridge"
    alpha: float = Field(default=1.0, ge=1e-5, le=1e4, description="the penalty; the higher, the smoother")


class KernelRidgeConfig(StrictConfig):
    """Ridge in the feature space of the RBF kernel. (With a linear kernel it would be ridge again.)"""

    name: Literal["kernel_ridge"] = "kernel_ridge"
    alpha: float = Field(default=1.0, ge=1e-5, le=1e4, description="the penalty; the higher, the smoother")
    gamma: float = Field(default=1.0, ge=1e-4, le=100.0, description="the higher, the more local; 1 is `scale`")


EstimatorConfig = one_of(SvrConfig, RidgeConfig, KernelRidgeConfig)


@dataclass(frozen=True)
class LinearEstimator:
    """Features times weights."""

    weights_PC: NDArray[np.float64]
    intercept_C: NDArray[np.float64]

    def predict(self, features_NP: NDArray[np.float64]) -> NDArray[np.float64]:
        """Scores [N, C]."""
        return features_NP @ self.weights_PC + self.intercept_C


@dataclass(frozen=True)
class RbfEstimator:
    """A weighted sum of RBF kernels around training essays."""

    vectors_MP: NDArray[np.float64]
    dual_MC: NDArray[np.float64]
    intercept_C: NDArray[np.float64]
    gamma_1: NDArray[np.float64]

    def predict(self, features_NP: NDArray[np.float64]) -> NDArray[np.float64]:
        """Scores [N, C]."""
        kernel_NM: NDArray[np.float64] = rbf_kernel(features_NP, self.vectors_MP, gamma=self.gamma_1.item())
        return kernel_NM @ self.dual_MC + self.intercept_C


def fit_estimator(
    config: StrictConfig, features_NP: NDArray[np.float64], labels_NC: NDArray[np.float64]
) -> LinearEstimator | RbfEstimator:
    """Fits what a config asks for on scaled (so centred) features."""
    match config:
        case RidgeConfig():
            # Cholesky: exact, and with fewer essays than features it solves for the essays.
            ridge = Ridge(alpha=config.alpha, solver="cholesky").fit(features_NP, labels_NC)
            coefficients_CP = np.reshape(ridge.coef_, (labels_NC.shape[1], -1))  # flat where there is one target
            return LinearEstimator(coefficients_CP.T, np.reshape(ridge.intercept_, -1))
        case KernelRidgeConfig():
            mean_C = labels_NC.mean(axis=0)  # kernel ridge has no intercept
            kernel_ridge = KernelRidge(kernel="rbf", alpha=config.alpha, gamma=config.gamma)
            kernel_ridge.fit(features_NP, labels_NC - mean_C)
            return RbfEstimator(features_NP, kernel_ridge.dual_coef_, mean_C, np.array([config.gamma]))
        case _:
            assert isinstance(config, SvrConfig)
            return _fit_svr(config, features_NP, labels_NC)


def _fit_svr(
    config: SvrConfig, features_NP: NDArray[np.float64], labels_NC: NDArray[np.float64]
) -> LinearEstimator | RbfEstimator:
    # The kernel is the same for all targets, and by far the largest part of the work.
    gamma = config.kernel.gamma if isinstance(config.kernel, RbfKernel) else None
    kernel_NN = linear_kernel(features_NP) if gamma is None else rbf_kernel(features_NP, gamma=gamma)
    dual_NC = np.zeros(labels_NC.shape)
    intercept_C = np.zeros(labels_NC.shape[1])
    for target, label_N in enumerate(labels_NC.T):
        svr = SVR(kernel="precomputed", C=config.C, epsilon=config.epsilon).fit(kernel_NN, label_N)
        dual_NC[svr.support_, target] = svr.dual_coef_[0]
        intercept_C[target] = svr.intercept_[0]
    if gamma is None:
        return LinearEstimator(features_NP.T @ dual_NC, intercept_C)
    support = np.flatnonzero((dual_NC != 0).any(axis=1))
    if len(support) == 0:  # every error is below epsilon: constants; one essay keeps the arrays' shapes
        support = np.array([0])
    return RbfEstimator(features_NP[support], dual_NC[support], intercept_C, np.array([gamma]))
