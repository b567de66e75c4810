"""A head that starts as ridge regression on what the untrained model says of the training essays.

Kumar et al. (2022), Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution: a head fitted
before the encoder is trained spares the encoder the gradients of a random one. Ridge regression has a closed form, so
this costs one pass over the training essays.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from trainables.regressor.encoder.precision import Precision
from trainables.regressor.encoder.reader import EssayReader
from trainables.regressor.model import Regressor


@torch.no_grad()
def fit_head_by_ridge(
    model: Regressor,
    reader: EssayReader,
    rows: NDArray[np.int64],
    labels_MC: NDArray[np.float32],
    alpha: float,
    batch_size: int,
    precision: Precision,
) -> None:
    """Sets the head to the ridge regression of the labels of `rows` [M] on their standardised features.

    `alpha` is the penalty in scikit-learn's unit, for standardised features; a good one grows with their number.

    Raises:
        torch.OutOfMemoryError: `batch_size` essays, and half as many, and so on to a single one, do not fit.
    """
    model.eval()
    with precision.autocast():
        features_M = reader.computed(model.features, rows, batch_size).double().cpu().numpy()
    offsets_MC = labels_MC - model.head.target_means_C.double().cpu().numpy()
    if model.per_target:
        solutions = [_solve(features_M[:, c], offsets_MC[:, [c]], alpha) for c in range(offsets_MC.shape[1])]
        weight_CP, bias_C = (np.concatenate(parts) for parts in zip(*solutions, strict=True))
    else:
        weight_CP, bias_C = _solve(features_M, offsets_MC, alpha)
    model.head.output.weight.copy_(torch.from_numpy(weight_CP))
    model.head.output.bias.copy_(torch.from_numpy(bias_C))


def _solve(
    features_MP: NDArray[np.float64], offsets_MC: NDArray[np.float64], alpha: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The weights [C, P] and biases [C] for features that are not standardised."""
    scaler, ridge = make_pipeline(StandardScaler(), Ridge(alpha=alpha)).fit(features_MP, offsets_MC)
    weight_CP = np.atleast_2d(ridge.coef_) / scaler.scale_
    return weight_CP, np.atleast_1d(ridge.intercept_) - weight_CP @ scaler.mean_
