"""Pre-training on pseudo-labels: how long, and at which learning rates."""

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ell_tune.config import StrictConfig
from trainables.regressor.fit.plan import TrainingConfig, TrainingPlan
from trainables.regressor.optimization.schedule import LearningRateFactor, ScheduleConfig, learning_rate_factor


class PseudoConfig(StrictConfig):
    """How a fit is pre-trained on pseudo-labels, in a run that has any; it changes nothing in other runs.

    FB3's 1st place: two or three epochs at about five times the rates of the fine-tuning after it.
    """

    num_epochs: int = Field(default=2, ge=1, le=50, description="passes over the essays with pseudo-labels")
    lr_factor: float = Field(
        default=1.0, ge=0.01, le=100.0, description="the peak learning rates, as a factor of the fine-tuning's"
    )


def pretraining_plan(
    config: PseudoConfig,
    training: TrainingConfig,
    pseudo_rows: NDArray[np.int64],
    lengths: NDArray[np.int64],
    seed: int,
) -> TrainingPlan:
    """The windows of the phase, in the batches of the fine-tuning. Its evaluations are of no use.

    Args:
        config: of the phase.
        training: of the fine-tuning.
        pseudo_rows: the essays with pseudo-labels [P], at least one.
        lengths: the number of tokens of every row of the essay set.
        seed: of the fit.
    """
    phase = training.model_copy(update={"num_epochs": config.num_epochs, "evaluations": 1})
    return TrainingPlan(phase, pseudo_rows, lengths, seed)


def pretraining_factor(config: PseudoConfig, schedule: ScheduleConfig, num_steps: int) -> LearningRateFactor:
    """The factor of the fine-tuning's peak rates for each step of the phase: its own warm-up, and its own decay."""
    factor = learning_rate_factor(schedule, num_steps)
    return lambda step: config.lr_factor * factor(step)
