"""Poolings with a vector of its own for each target."""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ell_tune.config import StrictConfig
from trainables.regressor.essays.batches import Batch
from trainables.regressor.pooling.base import Pooling, Sizes, check_num_layers, masked_mean


class PerTargetPooling(Pooling):
    """For each target a mixture of the last layers, a LayerNorm and the mean over tokens (FB3's 6th place)."""

    class Config(StrictConfig):
        """How many layers take part."""

        name: Literal["per_target"] = "per_target"
        num_layers: int = Field(
            default=4, ge=2, le=49, description="the last so many hidden states, embeddings included"
        )

    per_target: ClassVar[bool] = True

    def __init__(self, config: Config, sizes: Sizes) -> None:
        super().__init__(config, sizes)
        check_num_layers(config.num_layers, sizes)
        self.num_states = config.num_layers
        # A vector for each target, not one matrix: matrices decay.
        self.layer_logits = nn.ParameterList(torch.zeros(config.num_layers) for _ in range(sizes.num_targets))
        self.norms = nn.ModuleList(nn.LayerNorm(sizes.hidden_size) for _ in range(sizes.num_targets))

    def forward(self, hidden_states: Sequence[Tensor], batch: Batch) -> Tensor:
        """Pools to [B, C, width]."""
        layer_LBTD = torch.stack([layer_BTD.float() for layer_BTD in hidden_states[-self.config.num_layers :]])
        pooled = [
            masked_mean(norm(torch.tensordot(logits_L.softmax(dim=0), layer_LBTD, dims=1)), batch.mask_BT)
            for logits_L, norm in zip(self.layer_logits, self.norms, strict=True)
        ]
        return torch.stack(pooled, dim=1)
