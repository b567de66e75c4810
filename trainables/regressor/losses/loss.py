"""The loss of one window of essays: a criterion, weighted by target, and what is added to it."""

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from ell_tune.config import StrictConfig, or_off
from ell_tune.errors import BadConfig
from trainables.regressor.losses.agreement import AgreementConfig
from trainables.regressor.losses.criteria import CriterionConfig, SmoothL1


class UncertaintyConfig(StrictConfig):
    """Targets weighted by learned uncertainties: Kendall et al. (2018), Multi-Task Learning Using Uncertainty.

    Each target's error e becomes (exp(−s)·e + s) / 2, where s, the logarithm of its noise, is learned from 0 on.
    """

    lr: float = Field(
        default=1e-3,
        ge=1e-5,
        le=1e-1,
        description="the peak learning rate of the uncertainties: they must move by tenths, where weights move by less",
    )


class LossConfig(StrictConfig):
    """What training minimises."""

    criterion: CriterionConfig = Field(default=SmoothL1(), description="the error of scores")
    target_weights: dict[str, Annotated[float, Field(ge=0.0)]] | None = Field(
        default=None, description="each target's weight, by its name (only their ratios count); null for equal weights"
    )
    uncertainty: or_off(UncertaintyConfig) = Field(  # type: ignore[valid-type]
        default=None, description="learned weights of the targets' errors, or off"
    )
    agreement: or_off(AgreementConfig) = Field(  # type: ignore[valid-type]
        default=None, description="a term for the order of a batch's essays, or off"
    )

    @field_validator("target_weights")
    @classmethod
    def _some_target_counts(cls, weights: dict[str, float] | None) -> dict[str, float] | None:
        if weights is not None and not any(weights.values()):
            raise ValueError(f"at least one target's weight must be above 0, got {weights}")
        return weights


class Loss(nn.Module):
    """The loss of a fold's targets. Its one parameter, if any, is the targets' log-variance."""

    target_weight_C: Tensor  # of mean 1, so that weights do not change the size of a step

    def __init__(self, config: LossConfig, targets: Sequence[str], score_range: tuple[float, float]) -> None:
        """Raises:
        BadConfig: the target weights are for other targets.
        """
        super().__init__()
        self._config = config
        self._score_range = score_range
        self.register_buffer("target_weight_C", _mean_one(config.target_weights, targets), persistent=False)
        self.log_variance_C = nn.Parameter(torch.zeros(len(targets))) if config.uncertainty else None

    @property
    def couples_essays(self) -> bool:
        """Whether the loss of a window is more than the sum of its essays' losses."""
        return self._config.criterion.couples_essays or self._config.agreement is not None

    def forward(self, score_BC: Tensor, label_BC: Tensor, num_essays: int, logit_BC: Tensor | None = None) -> Tensor:
        """What these B essays add to the mean loss of a window of `num_essays`: their window's shares add up to it.

        Where essays are coupled they must be the whole window. `logit_BC` is what a bounded head made the scores of.
        """
        assert not self.couples_essays or len(score_BC) == num_essays
        criterion = self._config.criterion
        if logit_BC is None:
            error = criterion.error(score_BC, label_BC, self._score_range)
        else:
            error = criterion.error_of_bounded(score_BC, logit_BC, label_BC, self._score_range)
        if self.log_variance_C is not None:
            error = 0.5 * (torch.exp(-self.log_variance_C) * error + self.log_variance_C)
        num_rows = 1 if criterion.couples_essays else num_essays
        num_targets = len(self.target_weight_C)
        loss: Tensor = (error * self.target_weight_C).sum() / (num_rows * num_targets)
        if (agreement := self._config.agreement) is not None:
            disagreement_C = agreement.disagreement(score_BC, label_BC)
            loss = loss + agreement.weight * (disagreement_C * self.target_weight_C).sum() / num_targets
        return loss


def check_batch_size(config: LossConfig, batch_size: int) -> None:
    """Refuses to learn an order from single essays.

    Raises:
        BadConfig: there is an agreement term, and a batch has one essay.
    """
    if config.agreement is not None and batch_size == 1:
        raise BadConfig(
            f"loss.agreement: the order of essays is learned from batches of at least two, but it is "
            f"{config.agreement.name} with training.batch_size=1. Raise training.batch_size "
            f"(training.micro_batch_size may stay 1), or set loss.agreement: off."
        )


def _mean_one(weights: dict[str, float] | None, targets: Sequence[str]) -> Tensor:
    if weights is None:
        return torch.ones(len(targets))
    if set(weights) != set(targets):
        raise BadConfig(
            f"loss.target_weights: a weight for each of the targets {', '.join(targets)} is needed, but there are "
            f"weights for {', '.join(weights)}. Name exactly the targets of data.targets; 0 ignores one."
        )
    weight_C = torch.tensor([weights[target] for target in targets])
    return weight_C / weight_C.mean()
