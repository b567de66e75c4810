"""Poolings by a recurrent network: over the layers, or over the tokens of the last one."""

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ell_tune.config import StrictConfig
from trainables.regressor.essays.batches import Batch
from trainables.regressor.pooling.base import Pooling, Sizes, masked_max, masked_mean, stack_cls


class LstmPooling(Pooling):
    """The last output of an LSTM or GRU that reads every layer's [CLS], bottom first (FB3's 1st place, model 70)."""

    class Config(StrictConfig):
        """Which network, and how wide."""

        name: Literal["lstm"] = "lstm"
        cell: Literal["lstm", "gru"] = Field(default="lstm", description="the kind of recurrent network")
        hidden_size: int = Field(default=256, ge=8, le=1024, description="the width of its state")

    def __init__(self, config: Config, sizes: Sizes) -> None:
        super().__init__(config, sizes)
        self.num_states = sizes.num_layers
        self.width = config.hidden_size
        network = {"lstm": nn.LSTM, "gru": nn.GRU}[config.cell]
        self.add_module(config.cell, network(sizes.hidden_size, config.hidden_size, batch_first=True))

    def forward(self, hidden_states: Sequence[Tensor], batch: Batch) -> Tensor:
        output_BLH, _ = self.get_submodule(self.config.cell)(stack_cls(hidden_states, self.num_states))
        last_BH: Tensor = output_BLH[:, -1]
        return last_BH


class TokenLstmPooling(Pooling):
    """An LSTM in each direction over the last layer's tokens, reduced to mean and max (FB3's 9th) or final states.

    The backward one reads each essay turned round in its place, so it starts at the essay's last token, whatever the
    padding; a packed sequence would do the same, but wait for the lengths on the host.
    """

    class Config(StrictConfig):
        """How wide the LSTMs are, and what is kept of them."""

        name: Literal["token_lstm"] = "token_lstm"
        hidden_size: int = Field(default=384, ge=8, le=1024, description="the width of each direction's state")
        summary: Literal["mean_max", "final"] = Field(
            default="mean_max", description="mean and max over all tokens' outputs, or each direction's last output"
        )

    def __init__(self, config: Config, sizes: Sizes) -> None:
        super().__init__(config, sizes)
        self.width = (4 if config.summary == "mean_max" else 2) * config.hidden_size
        self.forwards = nn.LSTM(sizes.hidden_size, config.hidden_size, batch_first=True)
        self.backwards = nn.LSTM(sizes.hidden_size, config.hidden_size, batch_first=True)

    def forward(self, hidden_states: Sequence[Tensor], batch: Batch) -> Tensor:
        last_BTD = hidden_states[-1].float()
        length_B1 = batch.mask_BT.sum(dim=1, keepdim=True)
        position_T = torch.arange(last_BTD.shape[1], device=last_BTD.device)
        reverse_BT = torch.where(batch.mask_BT, length_B1 - 1 - position_T, position_T)
        forward_BTH, _ = self.forwards(last_BTD)
        backward_BTH, _ = self.backwards(_take(last_BTD, reverse_BT))
        if self.config.summary == "final":
            finals = [_take(output_BTH, length_B1 - 1)[:, 0] for output_BTH in (forward_BTH, backward_BTH)]
            return torch.cat(finals, dim=1)
        output_BTH = torch.cat([forward_BTH, _take(backward_BTH, reverse_BT)], dim=2)
        return torch.cat([masked_mean(output_BTH, batch.mask_BT), masked_max(output_BTH, batch.mask_BT)], dim=1)


def _take(hidden_BTD: Tensor, index_BS: Tensor) -> Tensor:
    """The hidden states at some positions of each essay [B, S, D]."""
    return hidden_BTD.gather(1, index_BS.unsqueeze(-1).expand(-1, -1, hidden_BTD.shape[2]))
