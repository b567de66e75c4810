"""Learning curves recorded from real fits, and a surrogate that answers for every other config of their space.

The expected curve is a Gaussian process (Matérn 5/2, a length scale for each feature, one kernel for all steps) over
the encoded config: smooth, like the response to a learning rate, and, unlike a forest, without plateaus on which all
candidates of a method are equal. Its kernel is fitted by marginal likelihood to the final scores, the noise with it.
Scores enter as logarithms of their distance from a little below the best, so that a few hopeless configs do not set the
scale. A fit's noise is the residual curve of a recorded fit, whole, so that steps deviate together as they did. Whether
a config diverges, and its seconds, are those of the nearest recorded config.
"""

import json
import warnings
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from benchmarks.search.curves import Curve, curve_rng
from benchmarks.search.fields import flat_fields, to_features
from benchmarks.search.strategy import Params
from ell_tune.choosing.search_spec import SearchSpec, load_search_spec

MIN_ROWS = 20


class RecordedCurves:
    """The `CurveTable` of a file that `benchmarks.search.record` wrote. R recorded fits, F features, T steps."""

    def __init__(self, path: Path, spec: SearchSpec | None = None) -> None:
        self.name = path.stem
        self.spec = spec or load_search_spec(Path(__file__).with_name("minilm.yaml"))
        self._fields = flat_fields(self.spec.space)
        table = json.loads(path.read_text(encoding="utf-8"))
        self.num_steps = int(table["num_steps"])
        rows = table["rows"]
        self._features_RF = np.stack([to_features(self._fields, row["params"]) for row in rows])
        self._seconds_R = np.array([row["seconds"] for row in rows])
        scores_RT = np.array([row["scores"] for row in rows], dtype=np.float64)  # null becomes NaN
        self._num_scored_R = np.isfinite(scores_RT).sum(axis=1)
        whole_R = self._num_scored_R == self.num_steps
        if whole_R.sum() < MIN_ROWS:
            raise ValueError(f"{path}: at least {MIN_ROWS} whole fits are needed, got {whole_R.sum()}")
        self.untrained = float(np.nanmax(scores_RT[:, -1]))
        self._fit(self._features_RF[whole_R], scores_RT[whole_R])

    def _fit(self, features_RF: NDArray[np.float64], scores_RT: NDArray[np.float64]) -> None:
        best_T = scores_RT.min(axis=0)
        self._floor_T = best_T - 0.25 * (np.median(scores_RT, axis=0) - best_T)
        logs_RT = np.log(scores_RT - self._floor_T)
        self._mean_T, self._sd_T = logs_RT.mean(axis=0), logs_RT.std(axis=0)
        targets_RT = (logs_RT - self._mean_T) / self._sd_T
        scales = np.full(features_RF.shape[1], 1.0)
        kernel = ConstantKernel(1.0) * Matern(scales, (0.2, 20.0), nu=2.5) + WhiteKernel(0.1, (1e-3, 1.0))
        with warnings.catch_warnings():
            # A feature that says nothing has its length scale at the bound.
            warnings.simplefilter("ignore", ConvergenceWarning)
            fitted = GaussianProcessRegressor(kernel, n_restarts_optimizer=2, random_state=0)
            fitted.fit(features_RF, targets_RT[:, -1])
        self._process = GaussianProcessRegressor(fitted.kernel_, optimizer=None).fit(features_RF, targets_RT)
        self._residuals_RT = targets_RT - self._process.predict(features_RF)

    def _scores(self, features_NF: NDArray[np.float64], noise: NDArray[np.float64] | float) -> NDArray[np.float64]:
        targets = self._process.predict(features_NF) + noise
        return np.asarray(np.exp(targets * self._sd_T + self._mean_T) + self._floor_T)

    def _nearest(self, features_NF: NDArray[np.float64]) -> NDArray[np.int64]:
        distances_NR = ((features_NF[:, None, :] - self._features_RF[None]) ** 2).sum(axis=2)
        return np.asarray(distances_NR.argmin(axis=1))

    def curve(self, params: Params, seed: int) -> Curve:
        rng = curve_rng(params, seed)
        features_NF = to_features(self._fields, params)[None]
        (nearest,) = self._nearest(features_NF)
        scores_T = self._scores(features_NF, self._residuals_RT[rng.integers(len(self._residuals_RT))])[0]
        scores_T[self._num_scored_R[nearest] :] = np.nan
        return Curve(tuple(map(float, scores_T)), (float(self._seconds_R[nearest]),) * self.num_steps)

    def final_scores(self, configs: Sequence[Params]) -> NDArray[np.float64]:
        features_NF = np.stack([to_features(self._fields, params) for params in configs])
        scores_N = self._scores(features_NF, 0.0)[:, -1]
        diverges_N = self._num_scored_R[self._nearest(features_NF)] < self.num_steps
        return np.where(diverges_N, self.untrained, scores_N)

    @cached_property
    def mean_seconds(self) -> float:
        return float(self._seconds_R.mean()) * self.num_steps
