"""Weights that may be a fit's result: the model at hand or an average, with how it does on the validation rows."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainables.regressor.model import Regressor


@dataclass(frozen=True)
class Candidate:
    """A model, its predictions for the validation rows, and each target's error."""

    model: Regressor
    oof_MC: NDArray[np.float32]
    rmse_C: NDArray[np.float64]

    @property
    def score(self) -> float:
        """MCRMSE."""
        return float(self.rmse_C.mean())
