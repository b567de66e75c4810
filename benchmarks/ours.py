"""Our side: the steps of `trainables.regressor.training`, without evaluations and checkpoints."""

from collections.abc import Callable
from pathlib import Path

from ell_tune.trainable import FoldData
from trainables.regressor import Config
from trainables.regressor.fit.gradients import apply_gradients, set_training_mode
from trainables.regressor.fit.starting import start_fit
from trainables.regressor.model import Regressor
from trainables.regressor.optimization.schedule import learning_rate_factor, set_learning_rates


class _FreshFit:
    """The contract's `Checkpoints` for a fit that is never interrupted."""

    def __init__(self, weights_dir: Path) -> None:
        self._weights_dir = weights_dir

    def latest(self) -> Path | None:
        return None

    def save(self, write: Callable[[Path], None]) -> None:
        raise AssertionError("a benchmark saves nothing")

    @property
    def weights_dir(self) -> Path:
        return self._weights_dir


class OurTraining:
    """A fit that takes its optimiser steps when asked to."""

    def __init__(self, config: Config, fold_data: FoldData, weights_dir: Path) -> None:
        """`weights_dir` is an empty folder, as every fit needs one."""
        self._config, self._fold_data = config, fold_data
        self._fit = start_fit(config, fold_data, _FreshFit(weights_dir))
        self._factor = learning_rate_factor(config.schedule, self._fit.plan.num_steps)
        self._step = 0
        set_training_mode(self.model)

    @property
    def model(self) -> Regressor:
        """The regressor that is trained."""
        return self._fit.state.model

    def run(self, num_steps: int) -> int:
        """The next steps; returns how many tokens they saw, padding not counted."""
        fit, state, num_tokens = self._fit, self._fit.state, 0
        for step in range(self._step, self._step + num_steps):
            set_learning_rates(state.optimizer, self._factor(step))
            micro_batches = fit.plan.micro_batches(step, state.micro_batch_size)
            _, step_tokens = fit.accumulation(self._fold_data, micro_batches)()
            apply_gradients(state.parameters(), state.optimizer, state.scaler, self._config.optimizer.clip_norm)
            num_tokens += step_tokens
        self._step += num_steps
        return num_tokens
