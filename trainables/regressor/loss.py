"""What training minimises."""

from pydantic import Field
from torch import Tensor
from torch.nn.functional import smooth_l1_loss

from ell_tune.config import StrictConfig


class LossConfig(StrictConfig):
    """SmoothL1 (Huber) on the scores."""

    beta: float = Field(
        default=1.0,
        ge=0.01,
        le=10.0,
        description="errors below it (in score points) count squared, above it linearly",
    )


def summed_loss(config: LossConfig, score_BC: Tensor, label_BC: Tensor) -> Tensor:
    """The loss summed over essays and targets; the caller knows what size to divide it by."""
    return smooth_l1_loss(score_BC, label_BC, beta=config.beta, reduction="sum")
