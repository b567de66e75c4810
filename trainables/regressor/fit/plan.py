"""The plan of a fit: which essays each optimiser step sees, and after which steps the model is evaluated."""

import math
from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from ell_tune.config import StrictConfig
from ell_tune.errors import BadConfig
from trainables.regressor.encoder.precision import PrecisionName
from trainables.regressor.essays.batches import length_grouped_batches


class TrainingConfig(StrictConfig):
    """Epochs, batches, evaluations and precision."""

    num_epochs: int = Field(default=4, ge=1, le=50, description="passes over the training rows")
    batch_size: int = Field(default=8, ge=1, le=512, description="essays per optimiser step")
    micro_batch_size: int | None = Field(
        default=None,
        ge=1,
        le=512,
        description="essays in memory at a time, gradients being added up; null for batch_size; halved for the rest of "
        "the fit where memory runs out",
    )
    evaluations: int = Field(
        default=8, ge=1, le=200, description="evaluations per fit, at equal fractions of its steps"
    )
    eval_batch_size: int = Field(
        default=32, ge=1, le=1024, description="essays per batch where nothing is trained; halved where it does not fit"
    )
    precision: PrecisionName = Field(
        default="auto",
        description="what the encoder computes in; auto: fp32 on a CPU, bf16 on a GPU that has it, else fp16",
    )

    @model_validator(mode="after")
    def _micro_batch_fits(self) -> "TrainingConfig":
        if self.micro_batch_size is not None and self.micro_batch_size > self.batch_size:
            raise ValueError(
                f"micro_batch_size must be at most batch_size, but they are {self.micro_batch_size} and "
                f"{self.batch_size}"
            )
        return self


class TrainingPlan:
    """The windows (the essays of one optimiser step) of a whole fit, and its evaluations."""

    def __init__(
        self, config: TrainingConfig, train_rows: NDArray[np.int64], lengths: NDArray[np.int64], seed: int
    ) -> None:
        """Plans a fit on `train_rows` [M] of an essay set with `lengths` [N] tokens.

        Raises:
            BadConfig: there are fewer optimiser steps than evaluations.
        """
        self._steps_per_epoch = math.ceil(len(train_rows) / config.batch_size)
        self.num_steps = config.num_epochs * self._steps_per_epoch
        if self.num_steps < config.evaluations:
            raise BadConfig(
                f"training.evaluations: at most one evaluation per optimiser step, of which there are "
                f"{self.num_steps} (training.num_epochs={config.num_epochs} times {self._steps_per_epoch} "
                f"for {len(train_rows)} essays at training.batch_size={config.batch_size}), but it is "
                f"{config.evaluations}. Lower training.evaluations or training.batch_size, or train longer."
            )
        evaluations = range(1, config.evaluations + 1)
        self._evaluations = {k * self.num_steps // config.evaluations: k for k in evaluations}
        # The windows of the current epoch; a step asks for one at a time.
        self._epoch_windows = lru_cache(maxsize=1)(
            partial(length_grouped_batches, train_rows, lengths, config.batch_size, seed)
        )

    def micro_batches(self, step: int, size: int) -> list[NDArray[np.int64]]:
        """The rows of optimiser step `step` (from 0), in pieces of `size`, the last of which may be smaller."""
        epoch, index = divmod(step, self._steps_per_epoch)
        window = self._epoch_windows(epoch)[index]
        return [window[start : start + size] for start in range(0, len(window), size)]

    def epoch(self, step: int) -> int:
        """The epoch (from 0) of optimiser step `step` (from 0)."""
        return step // self._steps_per_epoch

    def evaluation_after(self, step: int) -> int | None:
        """The number (1 … evaluations) of the evaluation that follows optimiser step `step`, if one does."""
        return self._evaluations.get(step + 1)
