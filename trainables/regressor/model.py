"""The network: encoder, pooling, LayerNorm, linear head."""

import torch
from pydantic import Field
from torch import Tensor, nn
from transformers import PreTrainedModel

from ell_tune.config import StrictConfig, or_off
from trainables.regressor.encoder.layers import encoder_layers, hidden_states
from trainables.regressor.essays.batches import Batch
from trainables.regressor.pooling import Pooling


class HeadConfig(StrictConfig):
    """From the pooled vector to the scores."""

    layer_norm: bool = Field(default=True, description="a LayerNorm between pooling and head")
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

    def __init__(self, backbone: PreTrainedModel, pooling: Pooling, head: HeadConfig, target_means_C: Tensor) -> None:
        super().__init__()
        self.backbone = backbone
        self.pooling = pooling
        self.norm = nn.LayerNorm(pooling.width) if head.layer_norm else nn.Identity()
        self.head = nn.Linear(pooling.width, len(target_means_C))
        nn.init.normal_(self.head.weight, std=getattr(backbone.config, "initializer_range", 0.02))
        nn.init.zeros_(self.head.bias)
        self.register_buffer("target_means_C", target_means_C)

    @property
    def num_layers(self) -> int:
        """The number of the encoder's layers."""
        return len(encoder_layers(self.backbone))

    def features(self, batch: Batch) -> Tensor:
        """What the head reads off each essay, in float32: [B, P], or [B, C, P] where each target has its own."""
        if batch.frozen_states:
            *below, start_BTD = batch.frozen_states
            above = hidden_states(self.backbone, start_BTD, batch.mask_BT, first=batch.num_frozen_layers)
            states = [*below, *above]
        else:
            states = hidden_states(self.backbone, batch.tokens_BT, batch.mask_BT)
        # Pooling and head cost nothing next to the encoder: they run in full precision, whatever it ran in.
        with torch.autocast(batch.tokens_BT.device.type, enabled=False):
            features: Tensor = self.norm(self.pooling(states, batch))
        return features

    def forward(self, batch: Batch) -> Tensor:
        """Scores [B, C] in float32, unclipped."""
        features = self.features(batch)
        with torch.autocast(features.device.type, enabled=False):
            if self.pooling.per_target:
                offset_BC = torch.einsum("bcp,cp->bc", features, self.head.weight) + self.head.bias
            else:
                offset_BC = self.head(features)
            score_BC: Tensor = self.target_means_C + offset_BC
        return score_BC
