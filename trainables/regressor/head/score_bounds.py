"""Scores that cannot leave the score range: a sigmoid onto it (the range head of FB3's ELECTRA models)."""

import torch
from torch import Tensor

_EDGE = 0.01  # of the score range, at both its ends: no target starts nearer, where the sigmoid is too flat to learn


def bounded_scores(offset_BC: Tensor, target_means_C: Tensor, score_range: tuple[float, float]) -> Tensor:
    """Scores [B, C] inside the range, which are the targets' means where the offset, in logits, is 0.

    A mean on a bound, whose logit would be infinite, counts as a hundredth of the range inside it. Far out, at offsets
    beyond about ±15, float32 rounds a score to its bound.
    """
    low, high = score_range
    share_C = ((target_means_C - low) / (high - low)).clamp(_EDGE, 1.0 - _EDGE)
    return low + (high - low) * torch.sigmoid(share_C.logit() + offset_BC)
