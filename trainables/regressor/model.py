"""The network: encoders with their poolings, a LayerNorm each, and one linear head on all of them."""

from collections.abc import Mapping
from typing import cast

import torch
from pydantic import Field
from torch import Tensor, nn

from ell_tune.config import StrictConfig, or_off
from trainables.regressor.encoder.pooled_encoder import PooledEncoder
from trainables.regressor.essays.batches import Batches


class HeadConfig(StrictConfig):
    """From the pooled vectors to the scores."""

    layer_norm: bool = Field(default=True, description="a LayerNorm between each encoder's pooling and the head")
    ridge_alpha: or_off(float) = Field(  # type: ignore[valid-type]
        default=None,
        ge=1e-3,
        le=1e6,
        description="start the head as a ridge regression with this penalty on the untrained features, or off: random",
    )


class Regressor(nn.Module):
    """Scores essays on C targets: the targets' training means, plus what the head reads off the essay.

    The means are a buffer, so that training starts from the best constant instead of walking there from 0,
    which takes a short fit at 2e-5 a good part of its steps.
    """

    target_means_C: Tensor

    def __init__(self, encoders: Mapping[str, PooledEncoder], head: HeadConfig, target_means_C: Tensor) -> None:
        super().__init__()
        self.encoders = cast(Mapping[str, PooledEncoder], nn.ModuleDict(encoders))
        widths = {name: encoder.pooling.width for name, encoder in encoders.items()}
        # One for each encoder: the features of different encoders come in different sizes.
        self.norms = nn.ModuleDict(
            {name: nn.LayerNorm(width) if head.layer_norm else nn.Identity() for name, width in widths.items()}
        )
        self.head = nn.Linear(sum(widths.values()), len(target_means_C))
        first = next(iter(encoders.values()))
        nn.init.normal_(self.head.weight, std=getattr(first.backbone.config, "initializer_range", 0.02))
        nn.init.zeros_(self.head.bias)
        self.register_buffer("target_means_C", target_means_C)

    @property
    def per_target(self) -> bool:
        """Whether each target has features of its own."""
        return any(encoder.pooling.per_target for encoder in self.encoders.values())

    def features(self, batches: Batches) -> Tensor:
        """What the head reads off each essay, in float32: [B, P], or [B, C, P] where each target has its own."""
        pooled = {name: encoder(batches[name]) for name, encoder in self.encoders.items()}
        # Norms and head cost nothing next to an encoder: they run in full precision, whatever that ran in.
        with torch.autocast(self.target_means_C.device.type, enabled=False):
            parts = [self.norms[name](features) for name, features in pooled.items()]
        if self.per_target:
            num_targets = len(self.target_means_C)
            parts = [part if part.ndim == 3 else part.unsqueeze(1).expand(-1, num_targets, -1) for part in parts]
        return torch.cat(parts, dim=-1)

    def forward(self, batches: Batches) -> Tensor:
        """Scores [B, C] in float32, unclipped."""
        features = self.features(batches)
        with torch.autocast(features.device.type, enabled=False):
            if self.per_target:
                offset_BC = torch.einsum("bcp,cp->bc", features, self.head.weight) + self.head.bias
            else:
                offset_BC = self.head(features)
            score_BC: Tensor = self.target_means_C + offset_BC
        return score_BC
