"""Means over tokens whose weights are learned."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from ell_tune.config import StrictConfig
from trainables.regressor.essays.batches import Batch
from trainables.regressor.pooling.base import Pooling, Sizes, masked_mean


class AttentionPooling(Pooling):
    """A mean over tokens whose weights a small network learns (rhtsingh's CommonLit notebooks)."""

    class Config(StrictConfig):
        """Nothing to choose."""

        name: Literal["attention"] = "attention"

    def __init__(self, config: StrictConfig, sizes: Sizes) -> None:
        super().__init__(config, sizes)
        self.score = nn.Sequential(
            nn.Linear(sizes.hidden_size, sizes.hidden_size),
            nn.LayerNorm(sizes.hidden_size),
            nn.GELU(),
            nn.Linear(sizes.hidden_size, 1, bias=False),  # a softmax ignores what all tokens share
        )

    def forward(self, hidden_states: Sequence[Tensor], batch: Batch) -> Tensor:
        last_BTD = hidden_states[-1].float()
        score_BT1 = self.score(last_BTD).masked_fill(~batch.mask_BT.unsqueeze(-1), float("-inf"))
        pooled_BD: Tensor = (score_BT1.softmax(dim=1) * last_BTD).sum(dim=1)
        return pooled_BD


class AttentionMeanPooling(AttentionPooling):
    """The attention pooling and the mean side by side (FB3, sunpnwt12)."""

    class Config(StrictConfig):
        """Nothing to choose."""

        name: Literal["attention_mean"] = "attention_mean"

    def __init__(self, config: StrictConfig, sizes: Sizes) -> None:
        super().__init__(config, sizes)
        self.width = 2 * sizes.hidden_size

    def forward(self, hidden_states: Sequence[Tensor], batch: Batch) -> Tensor:
        mean_BD = masked_mean(hidden_states[-1], batch.mask_BT)
        return torch.cat([super().forward(hidden_states, batch), mean_BD], dim=1)
