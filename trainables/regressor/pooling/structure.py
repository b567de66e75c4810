"""Poolings that follow an essay's sentences and paragraphs."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from ell_tune.config import StrictConfig
from trainables.regressor.essays.batches import Batch
from trainables.regressor.essays.segments import PARAGRAPH_END, SENTENCE_END
from trainables.regressor.pooling.base import Pooling, Sizes, masked_mean


class MultiscalePooling(Pooling):
    """The average of three views of an essay (FB3's 9th place).

    They are the mean over its tokens, and the last outputs of two LSTMs: one reads the means of its paragraphs, the
    other those of its sentences.
    """

    class Config(StrictConfig):
        """Nothing to choose."""

        name: Literal["multiscale"] = "multiscale"

    def __init__(self, config: Config, sizes: Sizes) -> None:
        super().__init__(config, sizes)
        self.paragraphs = nn.LSTM(sizes.hidden_size, sizes.hidden_size, batch_first=True)
        self.sentences = nn.LSTM(sizes.hidden_size, sizes.hidden_size, batch_first=True)

    def forward(self, hidden_states: Sequence[Tensor], batch: Batch) -> Tensor:
        last_BTD = hidden_states[-1].float()
        essay_BD = masked_mean(last_BTD, batch.mask_BT)
        paragraphs_BD = _read_segments(self.paragraphs, last_BTD, batch.mask_BT, batch.ends_BT >= PARAGRAPH_END)
        sentences_BD = _read_segments(self.sentences, last_BTD, batch.mask_BT, batch.ends_BT >= SENTENCE_END)
        return (essay_BD + paragraphs_BD + sentences_BD) / 3


def _read_segments(lstm: nn.LSTM, hidden_BTD: Tensor, mask_BT: Tensor, is_end_BT: Tensor) -> Tensor:
    """The LSTM's output after the last of each essay's segments [B, D]."""
    mean_BSD, num_segments_B = segment_means(hidden_BTD, mask_BT, is_end_BT)
    output_BSD, _ = lstm(mean_BSD)
    last_BD: Tensor = output_BSD[torch.arange(len(output_BSD), device=output_BSD.device), num_segments_B - 1]
    return last_BD


def segment_means(hidden_BTD: Tensor, mask_BT: Tensor, is_end_BT: Tensor) -> tuple[Tensor, Tensor]:
    """The mean over each segment's tokens [B, S, D], 0 for segments that an essay lacks, and how many it has [B].

    Tokens after the last end are a segment too. Waits for the device: S must be known.
    """
    before_BT = is_end_BT.long().cumsum(dim=1) - is_end_BT.long()  # ends before a token: the number of its segment
    num_segments_B = before_BT.masked_fill(~mask_BT, 0).amax(dim=1) + 1
    segment_S = torch.arange(int(num_segments_B.max()), device=hidden_BTD.device)
    inside_BST = ((before_BT.unsqueeze(1) == segment_S[:, None]) & mask_BT.unsqueeze(1)).float()
    return inside_BST @ hidden_BTD / inside_BST.sum(dim=2, keepdim=True).clamp(min=1), num_segments_B
