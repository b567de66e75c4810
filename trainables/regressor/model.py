"""The network: encoder, pooling, LayerNorm, linear head."""

import torch
from pydantic import Field
from torch import Tensor, nn
from transformers import PreTrainedModel

from ell_tune.config import StrictConfig
from trainables.regressor.batches import Batch
from trainables.regressor.pooling import Pooling


class HeadConfig(StrictConfig):
    """From the pooled vector to the scores."""

    layer_norm: bool = Field(default=True, description="a LayerNorm between pooling and head")


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

    def forward(self, batch: Batch) -> Tensor:
        """Scores [B, C] in float32, unclipped."""
        hidden_states = self.backbone(
            input_ids=batch.tokens_BT, attention_mask=batch.mask_BT.long(), output_hidden_states=True
        ).hidden_states
        # Pooling and head cost nothing next to the encoder: they run in full precision, whatever it ran in.
        with torch.autocast(batch.tokens_BT.device.type, enabled=False):
            pooled = self.norm(self.pooling(hidden_states, batch))
            if self.pooling.per_target:  # each target reads its own vector
                offset_BC = torch.einsum("bcp,cp->bc", pooled, self.head.weight) + self.head.bias
            else:
                offset_BC = self.head(pooled)
            score_BC: Tensor = self.target_means_C + offset_BC
        return score_BC
