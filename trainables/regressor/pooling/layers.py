"""Poolings over the depth of the encoder: what several layers say of an essay."""

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ell_tune.config import StrictConfig
from trainables.regressor.essays.batches import Batch
from trainables.regressor.pooling.base import (
    SUMMARY_MEANING,
    Pooling,
    Sizes,
    Summary,
    check_num_layers,
    stack_cls,
    summarise,
    summary_width,
)


class WeightedLayersPooling(Pooling):
    """A learned weighted mean of the last layers, each reduced over the essay's tokens first.

    FB3's 1st (weights over their sum, of [CLS]), 6th (over their sum, of means) and 9th (softmax) places.
    """

    class Config(StrictConfig):
        """How many layers take part, what stands for each, and how they are weighted."""

        name: Literal["weighted_layers"] = "weighted_layers"
        num_layers: int = Field(
            default=4, ge=2, le=49, description="the last so many hidden states, embeddings included"
        )
        summary: Summary = Field(default="mean", description=SUMMARY_MEANING)
        weighting: Literal["softmax", "sum"] = Field(
            default="softmax", description="a softmax of learned numbers, or learned weights divided by their sum"
        )
        start: Literal["equal", "rising", "last"] = Field(
            default="equal",
            description="the weights at the start: a softmax of 0, of -5 (lowest) to 5, or of -3 (0 for the last)",
        )

    def __init__(self, config: Config, sizes: Sizes) -> None:
        super().__init__(config, sizes)
        check_num_layers(config.num_layers, sizes)
        self.num_states = config.num_layers
        self.width = summary_width(config.summary, sizes)
        logits_L = {
            "equal": torch.zeros(config.num_layers),
            "rising": torch.linspace(-5.0, 5.0, config.num_layers),
            "last": torch.tensor([-3.0] * (config.num_layers - 1) + [0.0]),
        }[config.start]
        if config.weighting == "softmax":
            self.layer_logits = nn.Parameter(logits_L)
        else:
            # The same mixture at the start; the largest weight is 1.
            self.layer_weights = nn.Parameter((logits_L - logits_L.max()).exp())

    def forward(self, hidden_states: Sequence[Tensor], batch: Batch) -> Tensor:
        chosen = hidden_states[-self.config.num_layers :]
        summary_LBD = torch.stack([summarise(layer_BTD, batch.mask_BT, self.config.summary) for layer_BTD in chosen])
        return (self._mixture_L()[:, None, None] * summary_LBD).sum(dim=0)

    def _mixture_L(self) -> Tensor:
        if self.config.weighting == "softmax":
            return self.layer_logits.softmax(dim=0)
        return self.layer_weights / self.layer_weights.sum()


class ConcatLastPooling(Pooling):
    """The last layers side by side, bottom first, each by its [CLS] (FB3's 1st place, models 75 and 84) or its mean."""

    class Config(StrictConfig):
        """How many layers take part, and what stands for each."""

        name: Literal["concat_last"] = "concat_last"
        num_layers: int = Field(
            default=4, ge=2, le=49, description="the last so many hidden states, embeddings included"
        )
        summary: Summary = Field(default="cls", description=SUMMARY_MEANING)

    def __init__(self, config: Config, sizes: Sizes) -> None:
        super().__init__(config, sizes)
        check_num_layers(config.num_layers, sizes)
        self.num_states = config.num_layers
        self.width = config.num_layers * summary_width(config.summary, sizes)

    def forward(self, hidden_states: Sequence[Tensor], batch: Batch) -> Tensor:
        chosen = hidden_states[-self.config.num_layers :]
        return torch.cat([summarise(layer_BTD, batch.mask_BT, self.config.summary) for layer_BTD in chosen], dim=1)


class MeanLastPooling(Pooling):
    """The plain mean of the last layers, each by its [CLS] (FB3's 8th place) or its mean."""

    class Config(StrictConfig):
        """How many layers take part, and what stands for each."""

        name: Literal["mean_last"] = "mean_last"
        num_layers: int = Field(
            default=8, ge=2, le=49, description="the last so many hidden states, embeddings included"
        )
        summary: Summary = Field(default="cls", description=SUMMARY_MEANING)

    def __init__(self, config: Config, sizes: Sizes) -> None:
        super().__init__(config, sizes)
        check_num_layers(config.num_layers, sizes)
        self.num_states = config.num_layers
        self.width = summary_width(config.summary, sizes)

    def forward(self, hidden_states: Sequence[Tensor], batch: Batch) -> Tensor:
        chosen = hidden_states[-self.config.num_layers :]
        return torch.stack([summarise(layer_BTD, batch.mask_BT, self.config.summary) for layer_BTD in chosen]).mean(0)


class DepthAttentionPooling(Pooling):
    """Attention over every layer's [CLS] with one learned query, then a learned projection.

    rhtsingh's CommonLit notebooks.
    """

    class Config(StrictConfig):
        """How wide the result is."""

        name: Literal["depth_attention"] = "depth_attention"
        size: int = Field(default=128, ge=8, le=1024, description="the width of the pooled vector")

    def __init__(self, config: Config, sizes: Sizes) -> None:
        super().__init__(config, sizes)
        self.num_states = sizes.num_layers
        self.width = config.size
        self.query_D = nn.Parameter(torch.empty(sizes.hidden_size).normal_(std=0.1))
        self.projection_DP = nn.Parameter(torch.empty(sizes.hidden_size, config.size).normal_(std=0.1))

    def forward(self, hidden_states: Sequence[Tensor], batch: Batch) -> Tensor:
        cls_BLD = stack_cls(hidden_states, self.num_states)
        weight_BL1 = (cls_BLD @ self.query_D).softmax(dim=1).unsqueeze(-1)
        pooled_BP: Tensor = (weight_BL1 * cls_BLD).sum(dim=1) @ self.projection_DP
        return pooled_BP
