"""What every pooling is, and the reductions over an essay's tokens that they share."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from ell_tune.config import StrictConfig
from ell_tune.errors import BadConfig
from trainables.regressor.essays.batches import Batch

Summary = Literal["cls", "mean", "mean_std"]  # what stands for a layer
SUMMARY_MEANING = (
    "what stands for a layer: its first token, the mean over all tokens, or mean and deviation side by side"
)


@dataclass(frozen=True)
class Sizes:
    """What lies below and above a pooling."""

    hidden_size: int  # D
    num_layers: int  # of the encoder, without the embeddings
    num_targets: int  # C


class Pooling(nn.Module, ABC):
    """Reduces the hidden states of each essay to one vector of `width` numbers, or to one for each target.

    Subclasses declare their hyperparameters in a nested `Config`, told apart by its `name`.
    """

    Config: type[StrictConfig]
    per_target: ClassVar[bool] = False  # whether the result is [B, C, width]
    width: int  # that of the encoder, unless a subclass sets another
    num_states: int = 1  # so many of the last hidden states are all that it reads

    def __init__(self, config: Any, sizes: Sizes) -> None:
        super().__init__()
        self.config = config
        self.width = sizes.hidden_size

    @abstractmethod
    def forward(self, hidden_states: Sequence[Tensor], batch: Batch) -> Tensor:
        """Pools a batch of B essays of T tokens; the result [B, width] is float32 and ignores padding.

        Args:
            hidden_states: the embeddings' output, then each layer's, bottom first: num_layers + 1 of
                [B, T, D], possibly in half precision. Those below the last `num_states` may be missing.
            batch: the essays. Each has a first token, its [CLS], and its padding on the right.
        """


def masked_mean(hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
    """The mean over each essay's tokens [B, D]."""
    weight_BT1 = mask_BT.unsqueeze(-1).float()
    return (hidden_BTD.float() * weight_BT1).sum(dim=1) / weight_BT1.sum(dim=1)


def masked_max(hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
    """The largest value over each essay's tokens, for each feature [B, D]."""
    return hidden_BTD.float().masked_fill(~mask_BT.unsqueeze(-1), float("-inf")).amax(dim=1)


def masked_min(hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
    """The smallest value over each essay's tokens, for each feature [B, D]."""
    return hidden_BTD.float().masked_fill(~mask_BT.unsqueeze(-1), float("inf")).amin(dim=1)


def masked_std(hidden_BTD: Tensor, mean_BD: Tensor, mask_BT: Tensor) -> Tensor:
    """The standard deviation over each essay's tokens around their mean [B, D]."""
    # The small number keeps the gradient finite where all tokens agree.
    return (masked_mean((hidden_BTD.float() - mean_BD.unsqueeze(1)).square(), mask_BT) + 1e-8).sqrt()


def summarise(hidden_BTD: Tensor, mask_BT: Tensor, summary: Summary) -> Tensor:
    """One layer's vector for each essay [B, D], or [B, 2 D] for mean and deviation.

    Deviations beside means: Snyder et al. (2018), X-Vectors: Robust DNN Embeddings for Speaker Recognition.
    """
    if summary == "cls":
        return hidden_BTD[:, 0].float()
    mean_BD = masked_mean(hidden_BTD, mask_BT)
    if summary == "mean":
        return mean_BD
    return torch.cat([mean_BD, masked_std(hidden_BTD, mean_BD, mask_BT)], dim=1)


def summary_width(summary: Summary, sizes: Sizes) -> int:
    """The width of what `summarise` returns."""
    return sizes.hidden_size * (2 if summary == "mean_std" else 1)


def stack_cls(hidden_states: Sequence[Tensor], num_layers: int) -> Tensor:
    """The [CLS] of each of the last `num_layers` layers, bottom first [B, L, D].

    Stacked along dim 1: along the last, a reshape to [B, L, D] would mix the layers' features.
    """
    return torch.stack([hidden_BTD[:, 0].float() for hidden_BTD in hidden_states[-num_layers:]], dim=1)


def check_num_layers(num_layers: int, sizes: Sizes) -> None:
    """Refuses a `pooling.num_layers` that the encoder does not have.

    Raises:
        BadConfig: more hidden states are asked for than there are.
    """
    num_available = sizes.num_layers + 1
    if num_layers > num_available:
        raise BadConfig(
            f"pooling.num_layers: at most the backbone's number of hidden states can be pooled, which is "
            f"{num_available}, but it is {num_layers}. Lower it, or choose a deeper backbone."
        )
