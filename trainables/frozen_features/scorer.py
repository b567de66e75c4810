"""A fitted scaler and estimator: from features to scores, and to a file without pickle."""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from trainables.frozen_features.config import Config
from trainables.frozen_features.estimators import LinearEstimator, RbfEstimator, fit_estimator
from trainables.frozen_features.scaling import Scaler, fit_scaler


@dataclass(frozen=True)
class Scorer:
    """Scores essays from their features."""

    scaler: Scaler
    estimator: LinearEstimator | RbfEstimator

    @property
    def num_targets(self) -> int:
        """The number of scores that an essay gets."""
        return len(self.estimator.intercept_C)

    @property
    def num_parameters(self) -> int:
        """The numbers that it is made of; an estimator with a kernel keeps its training essays' features."""
        return sum(array.size for array in (asdict(self.scaler) | asdict(self.estimator)).values())

    def predict(self, features_NP: NDArray[np.float64]) -> NDArray[np.float32]:
        """Scores [N, C] for at least one essay, unclipped."""
        return self.estimator.predict(self.scaler.scale(features_NP)).astype(np.float32)

    def write(self, path: Path) -> None:
        """Writes every array in float64, so that `read_scorer` gives back the same scorer to the last bit."""
        arrays = asdict(self.scaler) | asdict(self.estimator)
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, path)


def fit_scorer(config: Config, features_NP: NDArray[np.float64], labels_NC: NDArray[np.float32]) -> Scorer:
    """Fits scaler and estimator on the training essays."""
    scaler = fit_scaler(config.scaling, features_NP)
    return Scorer(scaler, fit_estimator(config.estimator, scaler.scale(features_NP), labels_NC.astype(np.float64)))


def read_scorer(path: Path) -> Scorer:
    """The scorer that `Scorer.write` left."""
    arrays = load_file(path)
    scaler = Scaler(arrays.pop("mean_P"), arrays.pop("divisor_P"))
    estimator = RbfEstimator if "dual_MC" in arrays else LinearEstimator
    return Scorer(scaler, estimator(**arrays))
