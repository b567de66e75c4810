"""The network: encoder, pooling, LayerNorm, head."""

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from trainables.regressor.encoder.layers import encoder_layers, hidden_states
from trainables.regressor.essays.batches import Batch
from trainables.regressor.head import Head, HeadConfig
from trainables.regressor.pooling import Pooling


class Regressor(nn.Module):
    """Scores essays on C targets."""

    def __init__(
        self,
        backbone: PreTrainedModel,
        pooling: Pooling,
        head: HeadConfig,
        target_means_C: Tensor,
        score_range: tuple[float, float],
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.pooling = pooling
        self.norm = nn.LayerNorm(pooling.width) if head.layer_norm else nn.Identity()
        normal_std = getattr(backbone.config, "initializer_range", 0.02)
        self.head = Head(head, pooling.width, target_means_C, score_range, normal_std)

    @property
    def num_layers(self) -> int:
        """The number of the encoder's layers."""
        return len(encoder_layers(self.backbone))

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return self.head.target_means_C.device

    def features(self, batch: Batch) -> Tensor:
        """What the head reads off each essay, in float32: [B, P], or [B, C, P] where each target has its own."""
        if batch.frozen_states:
            *below, start_BTD = batch.frozen_states
            above = hidden_states(self.backbone, start_BTD, batch.mask_BT, first=batch.num_frozen_layers)
            states = [*below, *above]
        else:
            states = hidden_states(self.backbone, batch.tokens_BT, batch.mask_BT)
        # Pooling costs nothing next to the encoder: it runs in full precision, whatever that ran in.
        with torch.autocast(batch.tokens_BT.device.type, enabled=False):
            features: Tensor = self.norm(self.pooling(states, batch))
        return features

    def forward(self, batch: Batch) -> Tensor:
        """Scores [B, C] in float32, unclipped."""
        score_BC: Tensor = self.head(self.features(batch))
        return score_BC
