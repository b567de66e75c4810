"""Weight decay towards the pretrained weights instead of 0.

Li, Grandvalet & Davoine (2018), Explicit Inductive Bias for Transfer Learning with Convolutional Networks (L2-SP), in
the decoupled form of Zhang et al. (2021), Revisiting Few-sample BERT Fine-tuning.
"""

from typing import Any

import torch
from pydantic import Field

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


def draw_back_to_start(optimizer: torch.optim.Optimizer) -> None:
    """Lets what a fresh optimiser has in groups with a `prior_decay` decay towards its present values, at its rate.

    Such are the table's rows of pretrained matrices. Everything else (the head, the pooling, layers that were
    re-initialised) decays towards 0, for its start is worth nothing. A popular form meant to spare the head like this,
    but compared an index with the number of groups, which it never is: `exclude_last_group` never held.

    Raises:
        BadConfig: there is no such group.
    """
    drawn = [parameter for group in optimizer.param_groups if "prior_decay" in group for parameter in group["params"]]
    if not drawn:
        raise BadConfig(
            "prior_decay: matrices that are pretrained and trained on are needed, but freeze and reinit.num_layers "
            "leave none in any encoder. Freeze or re-initialise less, or set prior_decay to off."
        )
    priors = {parameter: parameter.detach().clone() for parameter in drawn}

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
