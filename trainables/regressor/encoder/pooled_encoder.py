"""An encoder with its pooling."""

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from trainables.regressor.encoder.layers import encoder_layers, hidden_states
from trainables.regressor.essays.batches import Batch
from trainables.regressor.pooling import Pooling


class PooledEncoder(nn.Module):
    """From an essay's tokens to one vector, or to one for each target."""

    def __init__(self, backbone: PreTrainedModel, pooling: Pooling) -> None:
        super().__init__()
        self.backbone = backbone
        self.pooling = pooling

    @property
    def num_layers(self) -> int:
        """The number of the encoder's layers."""
        return len(encoder_layers(self.backbone))

    def forward(self, batch: Batch) -> Tensor:
        """The pooled vectors in float32: [B, P], or [B, C, P] where each target has its own."""
        if batch.frozen_states:
            *below, start_BTD = batch.frozen_states
            above = hidden_states(self.backbone, start_BTD, batch.mask_BT, first=batch.num_frozen_layers)
            states = [*below, *above]
        else:
            states = hidden_states(self.backbone, batch.tokens_BT, batch.mask_BT)
        # Pooling costs nothing next to the encoder: it runs in full precision, whatever that ran in.
        with torch.autocast(batch.tokens_BT.device.type, enabled=False):
            pooled: Tensor = self.pooling(states, batch)
        return pooled
