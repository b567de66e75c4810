"""A hidden layer between the features and the final linear map."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ell_tune.config import StrictConfig

_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "tanh": nn.Tanh}


class HiddenConfig(StrictConfig):
    """How wide the layer is, what bends it, and whether targets share it."""

    width: int = Field(default=256, ge=4, le=4096, description="the layer's number of units (of each target's layer)")
    activation: Literal["relu", "gelu", "tanh"] = Field(default="gelu", description="the layer's nonlinearity")
    per_target: bool = Field(default=False, description="a layer of its own for each target, instead of a shared one")


class PerTargetHidden(nn.Module):
    """A hidden layer for each target; reads the essay's features, or the target's own where there are such."""

    def __init__(self, in_width: int, out_width: int, activation: nn.Module, num_targets: int) -> None:
        super().__init__()
        # A linear map for each target, not one block of numbers: its biases are vectors, and matrices decay.
        self.maps = nn.ModuleList(nn.Linear(in_width, out_width) for _ in range(num_targets))
        self.activation = activation

    def forward(self, features: Tensor) -> Tensor:
        """From [B, P] or [B, C, P] to [B, C, out_width]."""
        own_C = features.unbind(dim=1) if features.ndim == 3 else [features] * len(self.maps)
        mapped_BCH = torch.stack([layer(own_BP) for layer, own_BP in zip(self.maps, own_C, strict=True)], dim=1)
        activated_BCH: Tensor = self.activation(mapped_BCH)
        return activated_BCH


def make_hidden(config: HiddenConfig, in_width: int, num_targets: int) -> nn.Module:
    """The layer that a config asks for.

    It keeps the shape of the features, [B, ·] or [B, C, ·], but makes one vector for each target if it is per target.
    """
    activation = _ACTIVATIONS[config.activation]()
    if config.per_target:
        return PerTargetHidden(in_width, config.width, activation, num_targets)
    return nn.Sequential(nn.Linear(in_width, config.width), activation)
