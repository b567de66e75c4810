"""The learning rate over a fit, as a factor of each parameter's peak. The curves are those of transformers."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Literal

import torch
from pydantic import Field
from torch.optim.lr_scheduler import LambdaLR
from transformers import get_scheduler

from ell_tune.config import StrictConfig, one_of

LearningRateFactor = Callable[[int], float]


class Curve(StrictConfig, ABC):
    """The factor from the end of the warm-up (1) to the end of the fit."""

    @abstractmethod
    def transformers_scheduler(self, num_steps: int) -> tuple[str, dict[str, Any]]:
        """Its name in transformers' `get_scheduler`, and the arguments of its own; `num_steps` without the warm-up."""


class Cosine(Curve):
    """Half a cosine wave, from 1 to `end_factor` (Loshchilov & Hutter, 2017, without restarts)."""

    name: Literal["cosine"] = "cosine"
    end_factor: float = Field(default=0.0, ge=0.0, le=0.9, description="where the curve ends, as a factor of the peak")

    def transformers_scheduler(self, num_steps: int) -> tuple[str, dict[str, Any]]:
        return "cosine_with_min_lr", {"scheduler_specific_kwargs": {"min_lr_rate": self.end_factor}}


class Linear(Curve):
    """A straight line from 1 to 0."""

    name: Literal["linear"] = "linear"

    def transformers_scheduler(self, num_steps: int) -> tuple[str, dict[str, Any]]:
        return "linear", {}


class Constant(Curve):
    """1 throughout."""

    name: Literal["constant"] = "constant"

    def transformers_scheduler(self, num_steps: int) -> tuple[str, dict[str, Any]]:
        return "constant_with_warmup", {}


class CosineRestarts(Curve):
    """Half cosine waves from 1 to 0, one after the other (SGDR; Loshchilov & Hutter, 2017; FB3's 6th)."""

    name: Literal["cosine_restarts"] = "cosine_restarts"
    num_cycles: int = Field(default=2, ge=2, le=50, description="half waves, all equally long")

    def transformers_scheduler(self, num_steps: int) -> tuple[str, dict[str, Any]]:
        return "cosine_with_restarts", {"scheduler_specific_kwargs": {"num_cycles": self.num_cycles}}


class Polynomial(Curve):
    """end_factor + (1 − end_factor)·(share of the steps left)^power; FB3's 3rd had power 3 from 4e-6 to 7e-7."""

    name: Literal["polynomial"] = "polynomial"
    power: float = Field(default=3.0, ge=0.5, le=10.0, description="1 is a straight line; the higher, the earlier low")
    end_factor: float = Field(default=0.0, ge=0.0, le=0.9, description="where the curve ends, as a factor of the peak")

    def transformers_scheduler(self, num_steps: int) -> tuple[str, dict[str, Any]]:
        # Its `lr_end` is an absolute rate, for an optimizer whose peak here is 1.
        return "polynomial", {"scheduler_specific_kwargs": {"power": self.power, "lr_end": self.end_factor}}


class Trapezoid(Curve):
    """1, then half a cosine wave to 0: with the warm-up, what is called WSD (Hu et al., 2024, MiniCPM)."""

    name: Literal["trapezoid"] = "trapezoid"
    decay_frac: float = Field(
        default=0.2, ge=0.01, le=0.9, description="the last fraction of the steps after the warm-up"
    )

    def transformers_scheduler(self, num_steps: int) -> tuple[str, dict[str, Any]]:
        return "warmup_stable_decay", {
            "scheduler_specific_kwargs": {"num_decay_steps": math.ceil(self.decay_frac * num_steps)}
        }


class InverseSquareRoot(Curve):
    """1/√(1 + s/timescale), s steps after the warm-up (Zhai et al., 2022, Scaling Vision Transformers)."""

    name: Literal["inverse_sqrt"] = "inverse_sqrt"
    timescale: int = Field(default=100, ge=1, le=100_000, description="steps after which the rate is 1/√2 of its peak")

    def transformers_scheduler(self, num_steps: int) -> tuple[str, dict[str, Any]]:
        return "inverse_sqrt", {"scheduler_specific_kwargs": {"timescale": self.timescale}}


class ScheduleConfig(StrictConfig):
    """The learning rate over a fit, as a factor of each parameter's peak."""

    curve: one_of(  # type: ignore[valid-type]
        Cosine, Linear, Constant, CosineRestarts, Polynomial, Trapezoid, InverseSquareRoot
    ) = Field(default=Cosine(), description="the curve after the warm-up")
    warmup_frac: float = Field(
        default=0.0,
        ge=0.0,
        le=0.9,
        description="the fraction of all steps over which the rate rises linearly from 0",
    )


def learning_rate_factor(config: ScheduleConfig, num_steps: int) -> LearningRateFactor:
    """The factor of the peak learning rate for each optimiser step (0 … num_steps − 1).

    A function of the step alone, so a resumed fit needs no scheduler state, and a factor, so every parameter group
    keeps its own peak.
    """
    num_warmup_steps = math.ceil(config.warmup_frac * num_steps)
    name, arguments = config.curve.transformers_scheduler(num_steps - num_warmup_steps)
    of_peak_one = torch.optim.SGD([torch.nn.Parameter(torch.empty(0))], lr=1.0)
    scheduler = get_scheduler(
        name,
        of_peak_one,
        num_warmup_steps=num_warmup_steps,
        num_training_steps=num_steps,
        **arguments,
    )
    assert isinstance(scheduler, LambdaLR)
    (factor,) = scheduler.lr_lambdas
    return lambda step: float(factor(step))


def set_learning_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Sets every group to `factor` times its own peak, which keeps layer-wise decay."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor


def first_step(start_frac: float, num_steps: int) -> int:
    """The optimiser step (from 0) at which begins what starts after `start_frac` of them; at the latest the last."""
    return min(math.ceil(start_frac * num_steps), num_steps - 1)
