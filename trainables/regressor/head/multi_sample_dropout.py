"""Dropout in front of the head, on several masks at once.

Inoue (2019), Multi-Sample Dropout for Accelerated Training and Better Generalization: what lies behind the dropout is
computed for several masks with the same weights. The paper averages the masks' losses; here their scores are averaged,
as in FB3's solutions, so that any loss can follow. Where a plain linear map is all that follows, the mean of its scores
is its score of the mean mask: then more samples are a milder dropout, and no more than that.
"""

from collections.abc import Callable

import torch
from pydantic import Field
from torch import Tensor, nn

from ell_tune.config import StrictConfig


class DropoutConfig(StrictConfig):
    """How much is dropped, and how often."""

    p: float = Field(default=0.2, ge=0.01, le=0.9, description="the probability that a feature is dropped")
    num_samples: int = Field(
        default=5, ge=1, le=16, description="masks of each essay, whose scores are averaged; 1 is plain dropout"
    )


class MultiSampleDropout(nn.Module):
    """Scores features on several masks while training, and just as they are in eval mode."""

    def __init__(self, config: DropoutConfig) -> None:
        super().__init__()
        self.mask = nn.Dropout(config.p)
        self.num_samples = config.num_samples

    def forward(
        self, features: Tensor, outputs: Callable[[Tensor], Tensor], mean: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """The `mean` [B, C] over the masks of `outputs` [B, C]: it is given those of all masks, [S, B, C]."""
        if not self.training:
            return outputs(features)
        return mean(torch.stack([outputs(self.mask(features)) for _ in range(self.num_samples)]))
