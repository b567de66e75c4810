"""Scores that cannot leave the score range: a sigmoid onto it (the range head of FB3's ELECTRA models).

A score's logit is that of its share of the range. Far out the logit says more than the score: at logits beyond about
±15, float32 rounds a score to its bound.
"""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

_EDGE = 0.01  # of the score range, at both its ends: no target starts nearer, where the sigmoid is too flat to learn


def mean_logits(target_means_C: Tensor, score_range: tuple[float, float]) -> Tensor:
    """The logits [C] of the targets' means.

    A mean on a bound, whose logit would be infinite, counts as a hundredth of the range inside it.
    """
    low, high = score_range
    return ((target_means_C - low) / (high - low)).clamp(_EDGE, 1.0 - _EDGE).logit()


def bounded_scores(logit_BC: Tensor, score_range: tuple[float, float]) -> Tensor:
    """The scores [B, C] of these logits."""
    low, high = score_range
    return low + (high - low) * torch.sigmoid(logit_BC)


def logit_of_mean(logit_SBC: Tensor) -> Tensor:
    """The logits [B, C] of the mean of S scores, straight from theirs: as exact far out as between the bounds."""
    return logsigmoid(logit_SBC).logsumexp(dim=0) - logsigmoid(-logit_SBC).logsumexp(dim=0)
