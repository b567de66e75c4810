"""What every pooling is, and the two reductions over an essay's tokens that they share."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from ell_tune.config import StrictConfig
from ell_tune.errors import BadConfig
from trainables.regressor.batches import Batch


class Pooling(nn.Module, ABC):
    """Reduces the hidden states of each essay to one vector of `width` numbers.

    Subclasses declare their hyperparameters in a nested `Config`, told apart by its `name`.
    """

    Config: type[StrictConfig]
    width: int
    num_states: int = 1  # so many of the last hidden states are all that it reads

    @abstractmethod
    def __init__(self, config: Any, hidden_size: int, num_layers: int) -> None:
        super().__init__()

    @abstractmethod
    def forward(self, hidden_states: Sequence[Tensor], batch: Batch) -> Tensor:
        """Pools a batch of B essays of T tokens; the result [B, width] is float32 and ignores padding.

        Args:
            hidden_states: the embeddings' output, then each layer's, bottom first: num_layers + 1 of
                [B, T, D], possibly in half precision. Those below the last `num_states` may be missing.
            batch: the essays. Each has a first token, its [CLS].
        """


def masked_mean(hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
    """The mean over each essay's tokens [B, D]."""
    weight_BT1 = mask_BT.unsqueeze(-1).float()
    return (hidden_BTD.float() * weight_BT1).sum(dim=1) / weight_BT1.sum(dim=1)


def masked_std(hidden_BTD: Tensor, mean_BD: Tensor, mask_BT: Tensor) -> Tensor:
    """The standard deviation over each essay's tokens around their mean [B, D]."""
    # The small number keeps the gradient finite where all tokens agree.
    return (masked_mean((hidden_BTD.float() - mean_BD.unsqueeze(1)).square(), mask_BT) + 1e-8).sqrt()


def masked_max(hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
    """The largest value over each essay's tokens, for each feature [B, D]."""
    return hidden_BTD.float().masked_fill(~mask_BT.unsqueeze(-1), float("-inf")).amax(dim=1)


def check_num_layers(num_layers: int, num_available: int, kind: str) -> None:
    """Refuses a `pooling.num_layers` that the encoder does not have.

    Raises:
        BadConfig: more are asked for than are available.
    """
    if num_layers > num_available:
        raise BadConfig(
            f"pooling.num_layers: at most the backbone's number of {kind} can be pooled, which is "
            f"{num_available}, but it is {num_layers}. Lower it, or choose a deeper backbone."
        )
