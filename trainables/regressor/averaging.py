"""Stochastic weight averaging (SWA), per optimiser step.

Izmailov et al. (2018), Averaging Weights Leads to Wider Optima and Better Generalization. There is no batch
normalisation here whose statistics would have to be computed anew.
"""

import math

from pydantic import Field
from torch.optim.swa_utils import AveragedModel

from ell_tune.config import StrictConfig, or_off
from trainables.regressor.model import Regressor


class SwaConfig(StrictConfig):
    """When averaging starts, and the learning rate from then on."""

    start_frac: float = Field(
        default=0.75,
        ge=0.0,
        le=0.99,
        description="the fraction of all steps after which weights are averaged",
    )
    lr_factor: or_off(float) = Field(  # type: ignore[valid-type]
        default=None,
        ge=0.01,
        le=1.0,
        description="the learning rate while averaging, as a constant fraction of each parameter's peak; "
        "off keeps the schedule",
    )


class WeightAverage:
    """The mean of the weights after every optimiser step since `start_step`, the last one included.

    torch's `SWALR` would set every parameter group to one rate and so erase layer-wise decay; here the rate
    of the averaging phase is a factor of each group's own peak.
    """

    def __init__(self, config: SwaConfig, num_steps: int) -> None:
        self.start_step = min(math.ceil(config.start_frac * num_steps), num_steps - 1)
        self._lr_factor = config.lr_factor
        self.averaged: AveragedModel | None = None  # made when averaging starts: it is as large as the model

    def learning_rate_factor(self, step: int, scheduled: float) -> float:
        """The factor for optimiser step `step` (from 0), where the schedule alone would give `scheduled`."""
        if step < self.start_step or self._lr_factor is None:
            return scheduled
        return float(self._lr_factor)

    def update(self, model: Regressor, step: int) -> None:
        """Takes the weights after optimiser step `step` (from 0) into the mean, if averaging has started."""
        if step < self.start_step:
            return
        if self.averaged is None:
            self.averaged = AveragedModel(model)
        self.averaged.update_parameters(model)

    @property
    def model(self) -> Regressor | None:
        """The model with averaged weights, or None before averaging has started."""
        if self.averaged is None:
            return None
        module = self.averaged.module
        assert isinstance(module, Regressor)
        return module
