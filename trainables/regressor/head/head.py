"""The head: dropout, a hidden layer, a linear map and bounds, each of them but the linear map optional."""

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from ell_tune.config import StrictConfig, or_off
from trainables.regressor.head.first_weights import HeadInit, draw_weights
from trainables.regressor.head.hidden import HiddenConfig, make_hidden
from trainables.regressor.head.multi_sample_dropout import DropoutConfig, MultiSampleDropout
from trainables.regressor.head.score_bounds import bounded_scores, logit_of_mean, mean_logits


class HeadConfig(StrictConfig):
    """From the pooled vector to the scores."""

    layer_norm: bool = Field(default=True, description="a LayerNorm between each encoder's pooling and the head")
    hidden: or_off(HiddenConfig) = Field(  # type: ignore[valid-type]
        default=None, description="a hidden layer before the final linear map, or off"
    )
    dropout: or_off(DropoutConfig) = Field(  # type: ignore[valid-type]
        default=None, description="dropout of the features, averaged over several masks while training, or off"
    )
    bounded: bool = Field(default=False, description="a sigmoid onto the score range, so that no score lies outside")
    init: HeadInit = Field(
        default="normal",
        description="how linear maps are drawn; normal is the backbone's way, zeros (the final map only) starts at "
        "the targets' means; ridge_alpha replaces what was drawn",
    )
    ridge_alpha: or_off(float) = Field(  # type: ignore[valid-type]
        default=None,
        ge=1e-3,
        le=1e6,
        description="start the head as a ridge regression with this penalty on the untrained features, or off: random",
    )

    @model_validator(mode="after")
    def _ridge_is_linear(self) -> "HeadConfig":
        if self.ridge_alpha is not None and self.hidden is not None:
            raise ValueError(
                f"ridge_alpha needs a linear map straight from the features, so hidden must be off, but they are "
                f"{self.ridge_alpha} and {self.hidden.model_dump()}"
            )
        if self.ridge_alpha is not None and self.bounded:
            raise ValueError(
                f"ridge_alpha needs scores that are linear in the features, so bounded must be false, but they are "
                f"{self.ridge_alpha} and true"
            )
        return self


class Head(nn.Module):
    """Scores features on C targets: the targets' training means, plus what a linear map reads off the features.

    The means are a buffer, so that training starts from the best constant instead of walking there from 0,
    which takes a short fit at 2e-5 a good part of its steps.
    """

    target_means_C: Tensor

    def __init__(
        self,
        config: HeadConfig,
        width: int,
        target_means_C: Tensor,
        score_range: tuple[float, float],
        normal_std: float,
    ) -> None:
        """A head for features of this `width`; `normal_std` is the deviation of its weights where `init` is normal."""
        super().__init__()
        num_targets = len(target_means_C)
        self.score_range = score_range
        self.bounded = config.bounded
        self.dropout = None if config.dropout is None else MultiSampleDropout(config.dropout)
        self.hidden = nn.Identity() if config.hidden is None else make_hidden(config.hidden, width, num_targets)
        self.output = nn.Linear(width if config.hidden is None else config.hidden.width, num_targets)
        draw_weights(self.hidden, self.output, config.init, normal_std)
        self.register_buffer("target_means_C", target_means_C)

    @property
    def num_targets(self) -> int:
        """C, the number of scores of an essay."""
        return self.output.out_features

    def forward(self, features: Tensor) -> Tensor:
        """Scores [B, C], in float32 also under autocast, unclipped; inside the score range if the head is bounded.

        The features are [B, P], or [B, C, P] where each target has its own.
        """
        return self.scores(self.outputs(features))

    def outputs(self, features: Tensor) -> Tensor:
        """What the scores are made of [B, C]: their logits if the head is bounded, else the scores themselves."""
        # A head costs nothing next to the encoder: it runs in full precision, whatever that ran in.
        with torch.autocast(features.device.type, enabled=False):
            if self.dropout is None:
                return self._outputs(features.float())
            output_BC: Tensor = self.dropout(features.float(), self._outputs, self._mean_output)
        return output_BC

    def scores(self, output_BC: Tensor) -> Tensor:
        """The scores [B, C] that outputs stand for."""
        return bounded_scores(output_BC, self.score_range) if self.bounded else output_BC

    def logits(self, output_BC: Tensor) -> Tensor | None:
        """The logits [B, C] that a bounded head's scores are made of; None for others."""
        return output_BC if self.bounded else None

    def _mean_output(self, output_SBC: Tensor) -> Tensor:
        """The output [B, C] of the mean score."""
        return logit_of_mean(output_SBC) if self.bounded else output_SBC.mean(dim=0)

    def _outputs(self, features: Tensor) -> Tensor:
        hidden = self.hidden(features)
        if hidden.ndim == 3:  # a vector for each target: each goes through its own row of the map
            offset_BC = torch.einsum("bcp,cp->bc", hidden, self.output.weight) + self.output.bias
        else:
            offset_BC = self.output(hidden)
        start_C = mean_logits(self.target_means_C, self.score_range) if self.bounded else self.target_means_C
        return start_C + offset_BC
