"""Terms added to the criterion for how well scores agree with labels on which essay is the better one.

FB3's 2nd place added a tenth of such a term: .4514 became .4505.
"""

from abc import ABC, abstractmethod
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import softplus

from ell_tune.config import StrictConfig, one_of

_VARIANCE_EPS = 1e-6  # in squared score points: equal scores have no correlation, and must have no infinite gradient


class Agreement(StrictConfig, ABC):
    """A term over all essays of a batch, per target."""

    weight: float = Field(default=0.1, ge=0.001, le=10.0, description="of the term, next to 1 for the criterion")

    @abstractmethod
    def disagreement(self, score_BC: Tensor, label_BC: Tensor) -> Tensor:
        """How badly the scores of a batch agree with the labels, per target [C]."""


class Pearson(Agreement):
    """One minus Pearson's correlation over the batch."""

    name: Literal["pearson"] = "pearson"

    def disagreement(self, score_BC: Tensor, label_BC: Tensor) -> Tensor:
        score_BC = score_BC - score_BC.mean(dim=0)
        label_BC = label_BC - label_BC.mean(dim=0)
        variances_C = [centred_BC.square().mean(dim=0) + _VARIANCE_EPS for centred_BC in (score_BC, label_BC)]
        return 1.0 - (score_BC * label_BC).mean(dim=0) / torch.sqrt(variances_C[0] * variances_C[1])


class Ranking(Agreement):
    """The logistic loss of every pair of essays with different labels (RankNet; Burges et al., 2005)."""

    name: Literal["ranking"] = "ranking"

    def disagreement(self, score_BC: Tensor, label_BC: Tensor) -> Tensor:
        lead_BBC = score_BC.unsqueeze(1) - score_BC.unsqueeze(0)
        is_better_BBC = label_BC.unsqueeze(1) > label_BC.unsqueeze(0)
        num_pairs_C = is_better_BBC.sum(dim=(0, 1)).clamp(min=1)
        return (softplus(-lead_BBC) * is_better_BBC).sum(dim=(0, 1)) / num_pairs_C


AgreementConfig = one_of(Pearson, Ranking)
