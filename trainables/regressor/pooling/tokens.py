"""Poolings over the tokens of the last layer."""

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ell_tune.config import StrictConfig
from trainables.regressor.batches import Batch
from trainables.regressor.pooling.base import Pooling, masked_max, masked_mean


class MeanPooling(Pooling):
    """The mean over tokens: FB3's baseline."""

    class Config(StrictConfig):
        """Nothing to choose."""

        name: Literal["mean"] = "mean"

    def __init__(self, config: Config, hidden_size: int, num_layers: int) -> None:
        super().__init__(config, hidden_size, num_layers)
        self.width = hidden_size

    def forward(self, hidden_states: Sequence[Tensor], batch: Batch) -> Tensor:
        return masked_mean(hidden_states[-1], batch.mask_BT)


class ClsPooling(Pooling):
    """The first token, [CLS]."""

    class Config(StrictConfig):
        """Nothing to choose."""

        name: Literal["cls"] = "cls"

    def __init__(self, config: Config, hidden_size: int, num_layers: int) -> None:
        super().__init__(config, hidden_size, num_layers)
        self.width = hidden_size

    def forward(self, hidden_states: Sequence[Tensor], batch: Batch) -> Tensor:
        return hidden_states[-1][:, 0].float()


class MaxPooling(Pooling):
    """The largest value over tokens, for each feature."""

    class Config(StrictConfig):
        """Nothing to choose."""

        name: Literal["max"] = "max"

    def __init__(self, config: Config, hidden_size: int, num_layers: int) -> None:
        super().__init__(config, hidden_size, num_layers)
        self.width = hidden_size

    def forward(self, hidden_states: Sequence[Tensor], batch: Batch) -> Tensor:
        return masked_max(hidden_states[-1], batch.mask_BT)


class MeanMaxPooling(Pooling):
    """Mean and max side by side."""

    class Config(StrictConfig):
        """Nothing to choose."""

        name: Literal["mean_max"] = "mean_max"

    def __init__(self, config: Config, hidden_size: int, num_layers: int) -> None:
        super().__init__(config, hidden_size, num_layers)
        self.width = 2 * hidden_size

    def forward(self, hidden_states: Sequence[Tensor], batch: Batch) -> Tensor:
        last_BTD = hidden_states[-1]
        return torch.cat([masked_mean(last_BTD, batch.mask_BT), masked_max(last_BTD, batch.mask_BT)], dim=1)


class AttentionPooling(Pooling):
    """A mean over tokens whose weights a small network learns (rhtsingh's CommonLit notebooks)."""

    class Config(StrictConfig):
        """Nothing to choose."""

        name: Literal["attention"] = "attention"

    def __init__(self, config: Config, hidden_size: int, num_layers: int) -> None:
        super().__init__(config, hidden_size, num_layers)
        self.width = hidden_size
        self.score = nn.Sequential(
            nn.Linear(hidden_size, hidden_size),
            nn.LayerNorm(hidden_size),
            nn.GELU(),
            nn.Linear(hidden_size, 1, bias=False),  # a softmax ignores what all tokens share
        )

    def forward(self, hidden_states: Sequence[Tensor], batch: Batch) -> Tensor:
        last_BTD = hidden_states[-1].float()
        score_BT1 = self.score(last_BTD).float().masked_fill(~batch.mask_BT.unsqueeze(-1), float("-inf"))
        pooled_BD: Tensor = (score_BT1.softmax(dim=1) * last_BTD).sum(dim=1)
        return pooled_BD


class GemPooling(Pooling):
    """The generalised mean (mean of h^p)^(1/p) over tokens: between the mean (p = 1) and the max (p → ∞).

    Radenović et al. (2018), Fine-tuning CNN Image Retrieval with No Human Annotation. Negative features count
    as 0.
    """

    class Config(StrictConfig):
        """Where the learned exponent starts."""

        name: Literal["gem"] = "gem"
        p: float = Field(default=3.0, ge=1.0, le=10.0, description="the exponent at the start; it is learned")

    def __init__(self, config: Config, hidden_size: int, num_layers: int) -> None:
        super().__init__(config, hidden_size, num_layers)
        self.width = hidden_size
        self.p = nn.Parameter(torch.tensor([config.p]))

    def forward(self, hidden_states: Sequence[Tensor], batch: Batch) -> Tensor:
        positive_BTD = hidden_states[-1].float().clamp(min=1e-6)
        pooled_BD: Tensor = masked_mean(positive_BTD.pow(self.p), batch.mask_BT).pow(1.0 / self.p)
        return pooled_BD
