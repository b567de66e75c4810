"""Features of unit size: what makes one hyperparameter mean the same for few features and for thousands."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

ScalingName = Literal["l2", "standard", "none"]


@dataclass(frozen=True)
class Scaler:
    """Centres features, and divides them so that the training essays' mean squared length is 1.

    A kernel's gamma and a ridge's alpha then say the same whatever the number of encoders and layers: gamma is in
    units of scikit-learn's `scale`, and an alpha of 1 on P standardised features is an alpha of P on them as they are.
    """

    mean_P: NDArray[np.float64]
    divisor_P: NDArray[np.float64]

    def scale(self, features_NP: NDArray[np.float64]) -> NDArray[np.float64]:
        """The features of these or of other essays, scaled."""
        return (features_NP - self.mean_P) / self.divisor_P


def fit_scaler(name: ScalingName, features_NP: NDArray[np.float64]) -> Scaler:
    """The scaler of some training essays. A feature that is the same for all of them stays as it is: 0."""
    deviation_P = features_NP.std(axis=0)
    varies_P = deviation_P > 1e-9 * np.abs(features_NP).max(axis=0)  # beyond the rounding of the mean
    divisor_P = np.where(varies_P, deviation_P, 1.0) if name == "standard" else np.ones_like(deviation_P)
    length = np.sqrt(np.sum((deviation_P[varies_P] / divisor_P[varies_P]) ** 2))
    return Scaler(features_NP.mean(axis=0), divisor_P * (length if length > 0 else 1.0))
