"""Poolings, hidden states and batches for their tests."""

from typing import Any

import torch
from pydantic import TypeAdapter
from torch import Tensor

from trainables.regressor.essays.batches import Batch
from trainables.regressor.pooling import Pooling, PoolingConfig, make_pooling

HIDDEN_SIZE, NUM_LAYERS, NUM_TARGETS = 16, 3, 2


def build(name: str, width: int = HIDDEN_SIZE, depth: int = NUM_LAYERS, seed: int = 0, **fields: Any) -> Pooling:
    """The pooling with these fields, for an encoder of `depth` layers of `width` features."""
    torch.manual_seed(seed)
    config = TypeAdapter(PoolingConfig).validate_python({"name": name, **fields})
    return make_pooling(config, width, depth, NUM_TARGETS)


def states(*shape: int, seed: int = 0) -> list[Tensor]:
    """Random hidden states [*shape, HIDDEN_SIZE] of the embeddings and each layer."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(*shape, HIDDEN_SIZE, generator=generator) for _ in range(NUM_LAYERS + 1)]


def essays(*lengths: int, ends: list[list[int]] | None = None, seed: int = 0) -> Batch:
    """Essays of these lengths. Without `ends` every second token ends a sentence, every fourth a paragraph."""
    mask_BT = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    if ends is None:
        position_T = torch.arange(1, max(lengths) + 1)
        ends_BT = ((position_T % 2 == 0).int() + (position_T % 4 == 0).int()) * mask_BT
    else:
        ends_BT = torch.tensor(ends)
    tokens_BT = torch.randint(5, 20, mask_BT.shape, generator=torch.Generator().manual_seed(seed)) * mask_BT
    return Batch(tokens_BT, mask_BT, ends_BT.to(torch.uint8))


def layers_of(*rows: list[list[float]]) -> list[Tensor]:
    """Hidden states of one essay, for pooling by hand: one [tokens, features] list per hidden state."""
    return [torch.tensor([row]) for row in rows]
