"""Essays through a frozen encoder, once: what every hidden state says of every essay, pooled over its tokens."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from ell_tune.config import StrictConfig
from trainables.frozen_features.layers import AllLayers, LayersConfig
from trainables.regressor.encoder.backbone import BackboneConfig, BackboneNameConfig, load_backbone
from trainables.regressor.encoder.layers import hidden_states
from trainables.regressor.encoder.precision import best_device
from trainables.regressor.encoder.reader import EssayReader
from trainables.regressor.essays.batches import Batches
from trainables.regressor.essays.text import TextConfig, TokenisedEssays
from trainables.regressor.pooling.base import masked_max, masked_mean, masked_std

_BATCH_SIZE = 16  # nothing is kept for a backward pass, so that this fits everywhere

PoolingName = Literal["mean", "mean_std", "max", "mean_max", "cls"]


class EncoderConfig(StrictConfig):
    """One frozen encoder, and what is taken from it."""

    backbone: BackboneNameConfig = Field(default=BackboneNameConfig(), description="the pretrained encoder")
    text: TextConfig = Field(default=TextConfig(), description="how an essay becomes tokens")
    layers: LayersConfig = Field(
        default=AllLayers(), description="the hidden states used, side by side, the lowest first"
    )
    pooling: PoolingName = Field(
        default="mean", description="what stands for a hidden state: mean, deviation, max over tokens, or its [CLS]"
    )


@dataclass(frozen=True)
class EncodedEssays:
    """What one encoder says of N essays, and what is needed to encode others like them.

    Every pooling of all L hidden states (embeddings included), so that both can be searched without another pass. For
    FB3's 3,911 essays that is .17 GB with MiniLM, and 1.6 GB with DeBERTa-v3-large, in Ray's object store.
    """

    mean_NLD: NDArray[np.float32]
    std_NLD: NDArray[np.float32]
    max_NLD: NDArray[np.float32]
    cls_NLD: NDArray[np.float32]
    added_token_ids: tuple[int, ...]
    tokenizer_files: Mapping[str, bytes]
    num_parameters: int  # of the encoder
    seconds_per_essay: float  # that it took, from tokens

    @property
    def num_states(self) -> int:
        """The number of hidden states, embeddings included."""
        return self.mean_NLD.shape[1]


@torch.inference_mode()
def encode(backbone_name: str, essays: TokenisedEssays) -> EncodedEssays:
    """Runs tokenised essays, at least one, through a backbone in float32: on a GPU if there is one.

    Essays of like length share a batch, which is only as long as its longest essay.

    Raises:
        BadConfig: the backbone cannot be had, or has fewer positions than the essays may have tokens.
    """
    device = best_device()
    backbone = load_backbone(
        BackboneConfig(name=backbone_name), essays.vocab_size, essays.added_token_ids, essays.max_length
    )
    backbone.to(device).eval()  # type: ignore[arg-type]  # transformers' decorator hides nn.Module.to

    def pooled(batches: Batches) -> Tensor:
        """Mean, deviation, maximum and [CLS] of all hidden states: [B, 4, L, D]."""
        batch = batches["encoder"]
        states = hidden_states(backbone, batch.tokens_BT, batch.mask_BT)
        means = [masked_mean(state_BTD, batch.mask_BT) for state_BTD in states]
        stds = [masked_std(state, mean, batch.mask_BT) for state, mean in zip(states, means, strict=True)]
        maxima = [masked_max(state_BTD, batch.mask_BT) for state_BTD in states]
        firsts = [state_BTD[:, 0] for state_BTD in states]
        return torch.stack([torch.stack(layers, dim=1) for layers in (means, stds, maxima, firsts)], dim=1).cpu()

    reader = EssayReader({"encoder": essays}, device)
    started = time.perf_counter()
    pooled_N4LD = reader.computed(pooled, np.arange(len(essays.lengths)), _BATCH_SIZE).numpy()
    seconds_per_essay = (time.perf_counter() - started) / len(essays.lengths)
    mean_NLD, std_NLD, max_NLD, cls_NLD = (np.ascontiguousarray(pooled_N4LD[:, k]) for k in range(4))
    return EncodedEssays(
        *(mean_NLD, std_NLD, max_NLD, cls_NLD),
        added_token_ids=essays.added_token_ids,
        tokenizer_files=essays.tokenizer_files,
        num_parameters=sum(parameter.numel() for parameter in backbone.parameters()),
        seconds_per_essay=seconds_per_essay,
    )
