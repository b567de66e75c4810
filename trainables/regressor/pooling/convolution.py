"""Poolings by convolutions over the tokens of the last layer."""

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ell_tune.config import StrictConfig
from trainables.regressor.essays.batches import Batch
from trainables.regressor.pooling.base import Pooling, Sizes, masked_max


class Conv1dPooling(Pooling):
    """Two convolutions of width two with a ReLU between, then the max over positions (rhtsingh's notebooks)."""

    class Config(StrictConfig):
        """How many channels the convolutions have."""

        name: Literal["conv1d"] = "conv1d"
        hidden_channels: int = Field(default=256, ge=8, le=1024, description="the first convolution's channels")
        out_channels: int = Field(default=128, ge=8, le=1024, description="the second's: the pooled vector's width")

    def __init__(self, config: Config, sizes: Sizes) -> None:
        super().__init__(config, sizes)
        self.width = config.out_channels
        self.first = nn.Conv1d(sizes.hidden_size, config.hidden_channels, kernel_size=2, padding=1)
        self.second = nn.Conv1d(config.hidden_channels, config.out_channels, kernel_size=2, padding=1)

    def forward(self, hidden_states: Sequence[Tensor], batch: Batch) -> Tensor:
        # An essay of n tokens has n + 1 positions after the first convolution and n + 2 after the second. What lies
        # beyond must be the zeros that an essay alone is padded with, or a convolution's bias leaks into the essay.
        last_BDT = hidden_states[-1].float().transpose(1, 2)
        inside_BT = batch.mask_BT
        first_BHT = self.first(last_BDT * inside_BT.unsqueeze(1)).relu()
        inside_BT = _one_longer(inside_BT)
        second_BPT = self.second(first_BHT * inside_BT.unsqueeze(1))
        return masked_max(second_BPT.transpose(1, 2), _one_longer(inside_BT))


def _one_longer(mask_BT: Tensor) -> Tensor:
    """The mask of essays that are one position longer [B, T + 1]."""
    return torch.cat([mask_BT.new_ones(len(mask_BT), 1), mask_BT], dim=1)
