"""Poolings over the tokens of the last layer that learn nothing, or one exponent."""

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ell_tune.config import StrictConfig
from trainables.regressor.essays.batches import Batch
from trainables.regressor.pooling.base import Pooling, Sizes, masked_max, masked_mean, masked_min


class MeanPooling(Pooling):
    """The mean over tokens: FB3's baseline."""

    class Config(StrictConfig):
        """Nothing to choose."""

        name: Literal["mean"] = "mean"

    def forward(self, hidden_states: Sequence[Tensor], batch: Batch) -> Tensor:
        return masked_mean(hidden_states[-1], batch.mask_BT)


class ClsPooling(Pooling):
    """The first token, [CLS]."""

    class Config(StrictConfig):
        """Nothing to choose."""

        name: Literal["cls"] = "cls"

    def forward(self, hidden_states: Sequence[Tensor], batch: Batch) -> Tensor:
        return hidden_states[-1][:, 0].float()


class MaxPooling(Pooling):
    """The largest value over tokens, for each feature."""

    class Config(StrictConfig):
        """Nothing to choose."""

        name: Literal["max"] = "max"

    def forward(self, hidden_states: Sequence[Tensor], batch: Batch) -> Tensor:
        return masked_max(hidden_states[-1], batch.mask_BT)


class MinPooling(Pooling):
    """The smallest value over tokens, for each feature."""

    class Config(StrictConfig):
        """Nothing to choose."""

        name: Literal["min"] = "min"

    def forward(self, hidden_states: Sequence[Tensor], batch: Batch) -> Tensor:
        return masked_min(hidden_states[-1], batch.mask_BT)


class MeanMaxPooling(Pooling):
    """Mean and max side by side."""

    class Config(StrictConfig):
        """Nothing to choose."""

        name: Literal["mean_max"] = "mean_max"

    def __init__(self, config: Config, sizes: Sizes) -> None:
        super().__init__(config, sizes)
        self.width = 2 * sizes.hidden_size

    def forward(self, hidden_states: Sequence[Tensor], batch: Batch) -> Tensor:
        last_BTD = hidden_states[-1]
        return torch.cat([masked_mean(last_BTD, batch.mask_BT), masked_max(last_BTD, batch.mask_BT)], dim=1)


class MeanMaxMinPooling(Pooling):
    """Mean, max and min side by side (FB3's 46th place)."""

    class Config(StrictConfig):
        """Nothing to choose."""

        name: Literal["mean_max_min"] = "mean_max_min"

    def __init__(self, config: Config, sizes: Sizes) -> None:
        super().__init__(config, sizes)
        self.width = 3 * sizes.hidden_size

    def forward(self, hidden_states: Sequence[Tensor], batch: Batch) -> Tensor:
        reductions = (masked_mean, masked_max, masked_min)
        return torch.cat([reduce(hidden_states[-1], batch.mask_BT) for reduce in reductions], dim=1)


class MeanMaxClsPooling(Pooling):
    """Mean, max and the first token side by side (rhtsingh's CommonLit notebooks)."""

    class Config(StrictConfig):
        """Nothing to choose."""

        name: Literal["mean_max_cls"] = "mean_max_cls"

    def __init__(self, config: Config, sizes: Sizes) -> None:
        super().__init__(config, sizes)
        self.width = 3 * sizes.hidden_size

    def forward(self, hidden_states: Sequence[Tensor], batch: Batch) -> Tensor:
        last_BTD = hidden_states[-1].float()
        mean_BD, max_BD = masked_mean(last_BTD, batch.mask_BT), masked_max(last_BTD, batch.mask_BT)
        return torch.cat([mean_BD, max_BD, last_BTD[:, 0]], dim=1)


class GemPooling(Pooling):
    """The generalised mean (mean of h^p)^(1/p) over tokens: between the mean (p = 1) and the max (p → ∞).

    Radenović et al. (2018), Fine-tuning CNN Image Retrieval with No Human Annotation. Negative features count
    as 0.
    """

    class Config(StrictConfig):
        """Where the learned exponent starts."""

        name: Literal["gem"] = "gem"
        p: float = Field(default=3.0, ge=1.0, le=10.0, description="the exponent at the start; it is learned")

    def __init__(self, config: Config, sizes: Sizes) -> None:
        super().__init__(config, sizes)
        self.p = nn.Parameter(torch.tensor([config.p]))

    def forward(self, hidden_states: Sequence[Tensor], batch: Batch) -> Tensor:
        positive_BTD = hidden_states[-1].float().clamp(min=1e-6)
        pooled_BD: Tensor = masked_mean(positive_BTD.pow(self.p), batch.mask_BT).pow(1.0 / self.p)
        return pooled_BD
