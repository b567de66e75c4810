"""Heads, and features for their tests."""

from typing import Any

import torch
from torch import Tensor

from trainables.regressor.head import Head, HeadConfig

WIDTH, NUM_TARGETS = 16, 2
MEANS_C = (3.0, 2.0)
SCORE_RANGE = (1.0, 5.0)
NORMAL_STD = 0.02


def build(seed: int = 0, width: int = WIDTH, means_C: tuple[float, ...] = MEANS_C, **fields: Any) -> Head:
    """The head with these fields, drawn with this seed, in training mode."""
    torch.manual_seed(seed)
    return Head(HeadConfig.model_validate(fields), width, torch.tensor(means_C), SCORE_RANGE, NORMAL_STD)


def features_of(*shape: int, seed: int = 1) -> Tensor:
    """Random features of this shape, as a LayerNorm leaves them."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
