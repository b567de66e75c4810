"""Weight decay towards the pretrained weights instead of 0.

Li, Grandvalet & Davoine (2018), Explicit Inductive Bias for Transfer Learning with Convolutional Networks (L2-SP), in
the decoupled form of Zhang et al. (2021), Revisiting Few-sample BERT Fine-tuning.
"""

from typing import Any

import torch
from pydantic import Field
from torch import nn

from ell_tune.config import StrictConfig
from ell_tune.errors import BadConfig


class PriorDecayConfig(StrictConfig):
    """How strongly the encoder is drawn back."""

    strength: float = Field(
        default=0.01,
        ge=1e-5,
        le=10.0,
        description="each step takes this times the learning rate of a matrix's way back to its pretrained self; "
        "optimizer.weight_decay goes on for what has none",
    )


def decay_towards(optimizer: torch.optim.Optimizer, config: PriorDecayConfig, pretrained: set[nn.Parameter]) -> None:
    """Lets `pretrained` matrices of a fresh optimiser decay towards their present values, at their own learning rate.

    They get groups of their own, without the optimiser's own decay. Everything else (the head, the pooling, layers that
    were re-initialised) keeps decaying towards 0, for its start is worth nothing. A popular form meant to spare the
    head like this, but compared an index with the number of groups, which it never is: `exclude_last_group` never held.
    Vectors do not decay.

    Raises:
        BadConfig: there is no such matrix.
    """
    priors: dict[nn.Parameter, torch.Tensor] = {}
    for group in list(optimizer.param_groups):
        drawn = [p for p in group["params"] if p in pretrained and p.ndim >= 2]
        priors |= {parameter: parameter.detach().clone() for parameter in drawn}
        if drawn:
            group["params"] = [parameter for parameter in group["params"] if parameter not in priors]
            optimizer.add_param_group(
                {**group, "params": drawn, "weight_decay": 0.0, "prior_decay": config.strength},
            )
    if not priors:
        raise BadConfig(
            "prior_decay: matrices that are pretrained and trained on are needed, but freeze and reinit.num_layers "
            "leave none. Freeze or re-initialise less, or set prior_decay to off."
        )
    optimizer.param_groups[:] = [group for group in optimizer.param_groups if group["params"]]

    @torch.no_grad()
    def draw_back(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        # A fused optimiser skips a step with overflowed gradients by itself, for a scaler that tells it so: 1 where it
        # found one. As a tensor, so that nothing waits for the device.
        found_inf = getattr(optimizer, "found_inf", None)
        share = 1.0 if found_inf is None else 1.0 - found_inf
        for group in optimizer.param_groups:
            for parameter in group["params"] if "prior_decay" in group else ():
                # One rounding, and none where nothing has moved; unlike p - lr · strength · p + lr · strength · prior.
                parameter.lerp_(priors[parameter], share * group["lr"] * group["prior_decay"])

    optimizer.register_step_pre_hook(draw_back)
