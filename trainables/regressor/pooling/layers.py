"""Poolings over the depth of the encoder: what several layers say of an essay."""

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ell_tune.config import StrictConfig
from trainables.regressor.batches import Batch
from trainables.regressor.pooling.base import Pooling, check_num_layers, masked_mean, masked_std


class WeightedLayersPooling(Pooling):
    """A learned weighted mean of the last layers' masked means; the weights are a softmax and start equal.

    FB3's 1st (over [CLS]) and 6th (over masked means) places.
    """

    class Config(StrictConfig):
        """How many layers take part."""

        name: Literal["weighted_layers"] = "weighted_layers"
        num_layers: int = Field(
            default=4, ge=2, le=49, description="the last so many hidden states, embeddings included"
        )

    def __init__(self, config: Config, hidden_size: int, num_layers: int) -> None:
        super().__init__(config, hidden_size, num_layers)
        check_num_layers(config.num_layers, num_layers + 1, "hidden states")
        self.width = hidden_size
        self.num_states = config.num_layers
        self.layer_logits = nn.Parameter(torch.zeros(config.num_layers))

    def forward(self, hidden_states: Sequence[Tensor], batch: Batch) -> Tensor:
        chosen = hidden_states[-len(self.layer_logits) :]
        mean_LBD = torch.stack([masked_mean(hidden_BTD, batch.mask_BT) for hidden_BTD in chosen])
        return (self.layer_logits.softmax(dim=0)[:, None, None] * mean_LBD).sum(dim=0)


class ConcatLastPooling(Pooling):
    """The last layers side by side, bottom first, each by its [CLS] (FB3's 1st place, models 75 and 84) or its mean.

    With each layer's standard deviation over the tokens beside its mean: Snyder et al. (2018), X-Vectors.
    """

    class Config(StrictConfig):
        """How many layers take part, and what stands for each."""

        name: Literal["concat_last"] = "concat_last"
        num_layers: int = Field(
            default=4, ge=2, le=49, description="the last so many hidden states, embeddings included"
        )
        summary: Literal["cls", "mean", "mean_std"] = Field(
            default="cls",
            description="what stands for a layer: its first token, the mean over all tokens, or mean and deviation",
        )

    def __init__(self, config: Config, hidden_size: int, num_layers: int) -> None:
        super().__init__(config, hidden_size, num_layers)
        check_num_layers(config.num_layers, num_layers + 1, "hidden states")
        self.config = config
        self.width = config.num_layers * hidden_size * (2 if config.summary == "mean_std" else 1)
        self.num_states = config.num_layers

    def forward(self, hidden_states: Sequence[Tensor], batch: Batch) -> Tensor:
        chosen = hidden_states[-self.config.num_layers :]
        if self.config.summary == "cls":
            return torch.cat([hidden_BTD[:, 0].float() for hidden_BTD in chosen], dim=1)
        summaries = []
        for hidden_BTD in chosen:
            summaries.append(masked_mean(hidden_BTD, batch.mask_BT))
            if self.config.summary == "mean_std":
                summaries.append(masked_std(hidden_BTD, summaries[-1], batch.mask_BT))
        return torch.cat(summaries, dim=1)


class LstmPooling(Pooling):
    """The last output of an LSTM that reads every layer's [CLS], bottom first (FB3's 1st place, model 70)."""

    class Config(StrictConfig):
        """How wide the LSTM is."""

        name: Literal["lstm"] = "lstm"
        hidden_size: int = Field(default=256, ge=8, le=1024, description="the width of the LSTM's state")

    def __init__(self, config: Config, hidden_size: int, num_layers: int) -> None:
        super().__init__(config, hidden_size, num_layers)
        self.width = config.hidden_size
        self.num_states = num_layers
        self.lstm = nn.LSTM(hidden_size, config.hidden_size, batch_first=True)

    def forward(self, hidden_states: Sequence[Tensor], batch: Batch) -> Tensor:
        # Stacked along dim 1: along the last, a reshape to [B, L, D] would mix the layers' features.
        cls_BLD = torch.stack([hidden_BTD[:, 0].float() for hidden_BTD in hidden_states[-self.num_states :]], dim=1)
        output_BLH, _ = self.lstm(cls_BLD)
        last_BH: Tensor = output_BLH[:, -1].float()
        return last_BH
