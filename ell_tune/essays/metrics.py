"""The score: MCRMSE, the metric of FB3 (Feedback Prize – English Language Learning). Lower is better."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def rmse_per_target(labels_NC: ArrayLike, predictions_NC: ArrayLike) -> NDArray[np.float64]:
    """The root mean squared error of each target, in score points: an array [C].

    Computed in float64, whatever comes in. A prediction that is NaN or infinite makes its target's error so.

    Raises:
        ValueError: the two are not of one shape [N, C] with at least one row (they are never broadcast).
    """
    labels_NC = np.asarray(labels_NC, dtype=np.float64)
    predictions_NC = np.asarray(predictions_NC, dtype=np.float64)
    if labels_NC.ndim != 2 or labels_NC.shape != predictions_NC.shape or len(labels_NC) == 0:
        raise ValueError(
            f"labels and predictions must have one shape [num_essays, num_targets] with at least one essay, "
            f"but got labels {labels_NC.shape} and predictions {predictions_NC.shape}"
        )
    error_C: NDArray[np.float64] = np.sqrt(np.mean((predictions_NC - labels_NC) ** 2, axis=0))
    return error_C


def mcrmse(labels_NC: ArrayLike, predictions_NC: ArrayLike) -> float:
    """Mean columnwise root mean squared error: the mean of `rmse_per_target` over the targets."""
    return float(rmse_per_target(labels_NC, predictions_NC).mean())
