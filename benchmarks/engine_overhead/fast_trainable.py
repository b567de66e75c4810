"""A trainable that trains nothing, with the regressor's config and, so, its imports of torch and transformers.

Every trial has the same scores, so none is stopped and each makes the same number of reports.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ell_tune.config import StrictConfig
from ell_tune.trainable import Checkpoints, FoldData, FoldResult, Progress, Report
from trainables.regressor import Config

__all__ = ["Config", "fit", "predict", "preparation", "prepare"]


class Preparation(StrictConfig):
    """Nothing to prepare."""


def preparation(config: StrictConfig) -> StrictConfig:
    return Preparation()


def prepare(preparation: StrictConfig, essays: Sequence[str]) -> Any:
    return None


def fit(config: Config, fold_data: FoldData, checkpoints: Checkpoints, report: Report) -> FoldResult:
    num_steps = config.training.evaluations
    for step in range(1, num_steps + 1):
        report(Progress(step, num_steps, 1 / step))
    oof_MC = np.zeros((len(fold_data.valid_rows), len(fold_data.targets)), dtype=np.float32)
    return FoldResult(1 / num_steps, oof_MC, checkpoints.weights_dir)


def predict(weights_dir: Any, essays: Sequence[str]) -> NDArray[np.float32]:
    return np.zeros((len(essays), 1), dtype=np.float32)
