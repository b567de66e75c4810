"""Disentangled attention by the package `flashdeberta`, on a GPU where it is installed (extra `gpu`).

Its Triton kernels write nothing of the size tokens × tokens, so memory grows with the tokens and not with their square,
and a layer is a few launches. They add in a fixed order, so the same seed gives the same curve. They are for half
precision; in float32 they would round as tf32 does, and our own kernels are exact.
"""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

_HALF = (torch.bfloat16, torch.float16)
_HEAD_WIDTHS = (16, 32, 64, 128)  # the tiles of the kernels


def flash_kernel(query_BHTD: Tensor, dropout: float) -> Callable[..., Tensor] | None:
    """`flash_attention_with_disentangled`, where it can serve such queries and is installed.

    It takes queries, keys and values [B, H, T, D], the number of tokens of each essay [B], before its padding, the
    positions' keys (c2p) and queries (p2c) [1, H, S, D] or None, `causal`, the factor of the scores, the number of
    buckets of distances and the largest distance. It gives the context [B, H, T, D], zero for padding.
    """
    serves = query_BHTD.is_cuda and query_BHTD.dtype in _HALF and query_BHTD.shape[-1] in _HEAD_WIDTHS
    return _installed_kernel() if serves and dropout == 0.0 else None


@cache
def _installed_kernel() -> Callable[..., Tensor] | None:
    try:
        from flashdeberta.ops.flash_attention import flash_attention_with_disentangled
    except ImportError:
        return None
    kernel: Callable[..., Tensor] = flash_attention_with_disentangled
    return kernel
