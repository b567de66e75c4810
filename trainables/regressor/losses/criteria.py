"""How wrong scores are: the criteria, each its own config. Errors are in score points, except for `bce`."""

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from ell_tune.config import StrictConfig, one_of

_EDGE = 0.01  # of the score range, at both its ends: there BCE goes on as a straight line
_RMSE_EPS = 1e-9  # a root has no finite slope at 0


class Criterion(StrictConfig, ABC):
    """An error per target that training makes small."""

    couples_essays: ClassVar[bool] = False  # whether an essay's gradient depends on the other essays of its batch

    @abstractmethod
    def error(self, score_BC: Tensor, label_BC: Tensor, score_range: tuple[float, float]) -> Tensor:
        """The error of each essay and target [B, C], or of each target [1, C] where essays are coupled."""

    def error_of_bounded(
        self, score_BC: Tensor, logit_BC: Tensor, label_BC: Tensor, score_range: tuple[float, float]
    ) -> Tensor:
        """The same of scores that a bounded head made of these logits, which say more than scores near a bound."""
        return self.error(score_BC, label_BC, score_range)


class SmoothL1(Criterion):
    """Squared near the label, linear beyond, of slope 1 (Girshick, 2015); the public FB3 baseline's."""

    name: Literal["smooth_l1"] = "smooth_l1"
    beta: float = Field(
        default=1.0,
        ge=0.01,
        le=10.0,
        description="errors below it (in score points) count squared, above it linearly",
    )

    def error(self, score_BC: Tensor, label_BC: Tensor, score_range: tuple[float, float]) -> Tensor:
        return F.smooth_l1_loss(score_BC, label_BC, beta=self.beta, reduction="none")


class Huber(Criterion):
    """SmoothL1 times its threshold (Huber, 1964): near the label it is half the MSE whatever the threshold."""

    name: Literal["huber"] = "huber"
    delta: float = Field(
        default=1.0,
        ge=0.01,
        le=10.0,
        description="errors below it (in score points) count squared, above it linearly",
    )

    def error(self, score_BC: Tensor, label_BC: Tensor, score_range: tuple[float, float]) -> Tensor:
        return F.huber_loss(score_BC, label_BC, delta=self.delta, reduction="none")


class MSE(Criterion):
    """The squared error (FB3's 1st, 2nd and 9th)."""

    name: Literal["mse"] = "mse"

    def error(self, score_BC: Tensor, label_BC: Tensor, score_range: tuple[float, float]) -> Tensor:
        return F.mse_loss(score_BC, label_BC, reduction="none")


class L1(Criterion):
    """The absolute error."""

    name: Literal["l1"] = "l1"

    def error(self, score_BC: Tensor, label_BC: Tensor, score_range: tuple[float, float]) -> Tensor:
        return F.l1_loss(score_BC, label_BC, reduction="none")


class ColumnRMSE(Criterion):
    """The metric itself, over a batch: the root of each target's mean squared error (FB3's 3rd and 9th)."""

    couples_essays: ClassVar[bool] = True
    name: Literal["rmse"] = "rmse"

    def error(self, score_BC: Tensor, label_BC: Tensor, score_range: tuple[float, float]) -> Tensor:
        return torch.sqrt((score_BC - label_BC).square().mean(dim=0, keepdim=True) + _RMSE_EPS)


class BCE(Criterion):
    """Binary cross-entropy of scores and labels as shares of the score range (FB3's 7th).

    With p = (score − low) / (high − low) this is −y·log p − (1 − y)·log(1 − p).

    A bounded head's p is a sigmoid, and the entropy is computed from its logits: exact for any label and however far
    out a logit is, where p itself has been rounded to 0 or 1. Its gradient by logit is p − y.

    Any other head's score may lie where no logarithm is: within a hundredth of the range from an end, and beyond it,
    the curve goes on as its tangent, so gradients stay finite and point back into the range. Labels count as no nearer
    to the ends than that: beyond an end, the tangent of a label there is flat, and nothing pushes a score out of the
    range.
    """

    name: Literal["bce"] = "bce"

    def error(self, score_BC: Tensor, label_BC: Tensor, score_range: tuple[float, float]) -> Tensor:
        low, high = score_range
        share_BC = (score_BC - low) / (high - low)
        label_share_BC = ((label_BC - low) / (high - low)).clamp(_EDGE, 1.0 - _EDGE)
        inside_BC = share_BC.clamp(_EDGE, 1.0 - _EDGE)
        slope_BC = (inside_BC - label_share_BC) / (inside_BC * (1.0 - inside_BC))
        entropy_BC = F.binary_cross_entropy(inside_BC, label_share_BC, reduction="none")
        return entropy_BC + slope_BC * (share_BC - inside_BC)

    def error_of_bounded(
        self, score_BC: Tensor, logit_BC: Tensor, label_BC: Tensor, score_range: tuple[float, float]
    ) -> Tensor:
        low, high = score_range
        return F.binary_cross_entropy_with_logits(logit_BC, (label_BC - low) / (high - low), reduction="none")


CriterionConfig = one_of(SmoothL1, Huber, MSE, L1, ColumnRMSE, BCE)
