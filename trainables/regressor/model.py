"""The network: encoders with their poolings, a LayerNorm each, and one head on all of them."""

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from trainables.regressor.encoder.pooled_encoder import PooledEncoder
from trainables.regressor.essays.batches import Batches
from trainables.regressor.head import Head, HeadConfig


class Regressor(nn.Module):
    """Scores essays on C targets."""

    def __init__(
        self,
        encoders: Mapping[str, PooledEncoder],
        head: HeadConfig,
        target_means_C: Tensor,
        score_range: tuple[float, float],
    ) -> None:
        super().__init__()
        self.encoders = cast(Mapping[str, PooledEncoder], nn.ModuleDict(encoders))
        widths = {name: encoder.pooling.width for name, encoder in encoders.items()}
        # One for each encoder: the features of different encoders come in different sizes.
        self.norms = nn.ModuleDict(
            {name: nn.LayerNorm(width) if head.layer_norm else nn.Identity() for name, width in widths.items()}
        )
        first = next(iter(encoders.values()))
        normal_std = getattr(first.backbone.config, "initializer_range", 0.02)
        self.head = Head(head, sum(widths.values()), target_means_C, score_range, normal_std)

    @property
    def per_target(self) -> bool:
        """Whether each target has features of its own."""
        return any(encoder.pooling.per_target for encoder in self.encoders.values())

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return self.head.target_means_C.device

    def features(self, batches: Batches) -> Tensor:
        """What the head reads off each essay, in float32: [B, P], or [B, C, P] where each target has its own."""
        pooled = {name: encoder(batches[name]) for name, encoder in self.encoders.items()}
        # Norms cost nothing next to an encoder: they run in full precision, whatever that ran in.
        with torch.autocast(self.device.type, enabled=False):
            parts = [self.norms[name](features) for name, features in pooled.items()]
        if self.per_target:
            num_targets = self.head.num_targets
            parts = [part if part.ndim == 3 else part.unsqueeze(1).expand(-1, num_targets, -1) for part in parts]
        return torch.cat(parts, dim=-1)

    def outputs(self, batches: Batches) -> Tensor:
        """What the head makes its scores of, [B, C] in float32; see `Head.outputs`."""
        return self.head.outputs(self.features(batches))

    def forward(self, batches: Batches) -> Tensor:
        """Scores [B, C] in float32, unclipped."""
        return self.head.scores(self.outputs(batches))
