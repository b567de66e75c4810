"""AdamW, and the learning rate over a fit."""

import math
from typing import Any, Literal

import torch
from pydantic import Field

from ell_tune.config import StrictConfig, or_off


class OptimizerConfig(StrictConfig):
    """AdamW (Loshchilov & Hutter, 2019) with betas .9 and .999, and what each part of the model learns at."""

    lr: float = Field(default=2e-5, ge=1e-7, le=1e-2, description="the peak learning rate of the encoder's top layer")
    head_lr: float = Field(default=2e-5, ge=1e-7, le=1e-1, description="the peak learning rate of pooling and head")
    layer_decay: float = Field(
        default=1.0,
        ge=0.1,
        le=1.0,
        description="each lower layer's learning rate as a fraction of the one above; 1 is off",
    )
    weight_decay: float = Field(default=0.01, ge=0.0, le=1.0, description="decoupled weight decay of matrices")
    eps: float = Field(default=1e-6, ge=1e-10, le=1e-3, description="AdamW's epsilon")
    clip_norm: or_off(float) = Field(  # type: ignore[valid-type]
        default=None,
        ge=0.01,
        le=1000.0,
        description="the gradient's largest norm over all parameters, or off",
    )


class ScheduleConfig(StrictConfig):
    """The learning rate over a fit, as a factor of each parameter's peak."""

    name: Literal["cosine", "linear", "constant"] = Field(default="cosine", description="the curve after the warm-up")
    warmup_frac: float = Field(
        default=0.0,
        ge=0.0,
        le=0.9,
        description="the fraction of all steps over which the rate rises linearly from 0",
    )


def make_optimizer(config: OptimizerConfig, groups: list[dict[str, Any]]) -> torch.optim.AdamW:
    """AdamW over groups with their own peak `lr` (remembered as `initial_lr`) and `weight_decay`."""
    groups = [{**group, "initial_lr": group["lr"]} for group in groups]
    return torch.optim.AdamW(groups, eps=config.eps)


def learning_rate_factor(config: ScheduleConfig, step: int, num_steps: int) -> float:
    """The learning rate of optimiser step `step` (0 … num_steps − 1) as a factor of its peak.

    A function of the step alone, so a resumed fit needs no scheduler state. The same values as transformers'
    `get_scheduler` with ceil(warmup_frac · num_steps) warm-up steps.
    """
    num_warmup_steps = math.ceil(config.warmup_frac * num_steps)
    if step < num_warmup_steps:
        return step / num_warmup_steps
    done_frac = (step - num_warmup_steps) / (num_steps - num_warmup_steps)
    match config.name:
        case "cosine":
            return 0.5 * (1.0 + math.cos(math.pi * done_frac))
        case "linear":
            return 1.0 - done_frac
        case "constant":
            return 1.0


def set_learning_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Sets every group to `factor` times its own peak, which keeps layer-wise decay."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor
