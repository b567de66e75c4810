"""How learning rates fall from the encoder's top layer to its embeddings.

Howard & Ruder (2018), Universal Language Model Fine-tuning, and the forms that FB3 knew. In all of them the top layer
has `optimizer.lr` itself. (rhtsingh's notebook gives that to the layer above and decays before the first.)
"""

from abc import ABC, abstractmethod
from typing import Literal

from pydantic import Field

from ell_tune.config import StrictConfig, one_of
from ell_tune.errors import BadConfig


class LayerRates(StrictConfig, ABC):
    """A learning rate for each depth: 0 for the embeddings, k for the k-th layer, num_layers for the top."""

    @abstractmethod
    def factor(self, depth: int, num_layers: int) -> float:
        """The rate at that depth as a fraction of the top layer's.

        Raises:
            BadConfig: the encoder has too few layers.
        """


class DecayRates(LayerRates):
    """A fixed factor from layer to layer (FB3's 7th, 9th, 49th: .8 to .95); the embeddings come last."""

    name: Literal["decay"] = "decay"
    decay: float = Field(
        default=1.0,
        ge=0.1,
        le=1.0,
        description="each lower layer's learning rate as a fraction of the one above; 1 is off",
    )

    def factor(self, depth: int, num_layers: int) -> float:
        return self.decay ** (num_layers - depth)


class GroupedRates(LayerRates):
    """Groups of neighbouring layers, as equal in size as can be; the embeddings are in the bottom group.

    rhtsingh's three groups, 2.6 apart (FB3's 9th), have their base rate in the middle: `optimizer.lr` is 2.6 times it.
    """

    name: Literal["grouped"] = "grouped"
    num_groups: int = Field(default=3, ge=2, le=48, description="into so many groups the layers are cut")
    ratio: float = Field(default=2.6, ge=1.0, le=10.0, description="a group's rate over that of the group below")

    def factor(self, depth: int, num_layers: int) -> float:
        if self.num_groups > num_layers:
            raise BadConfig(
                f"optimizer.layer_rates.num_groups: at most the backbone's number of layers, which is {num_layers}, "
                f"for a group has at least one; but it is {self.num_groups}. Lower it, or choose a deeper backbone."
            )
        group = max(depth - 1, 0) * self.num_groups // num_layers
        return float(self.ratio ** (group + 1 - self.num_groups))


class EndpointRates(LayerRates):
    """A fixed factor from layer to layer, given by where it ends: the same for any number of layers (FB3's 22nd)."""

    name: Literal["endpoint"] = "endpoint"
    bottom_frac: float = Field(
        default=0.5, ge=1e-3, le=1.0, description="the embeddings' rate as a fraction of the top layer's"
    )

    def factor(self, depth: int, num_layers: int) -> float:
        return float(self.bottom_frac ** ((num_layers - depth) / num_layers))


LayerRatesConfig = one_of(DecayRates, GroupedRates, EndpointRates)
