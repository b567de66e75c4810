"""The values of a model's parameters, taken and given back."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def parameter_values(model: nn.Module, names: Iterable[str]) -> dict[str, Tensor]:
    """The named parameters, by name."""
    return {name: model.get_parameter(name).detach() for name in names}


@torch.no_grad()
def set_parameters(model: nn.Module, values: dict[str, Tensor]) -> None:
    """Gives the named parameters other values."""
    for name, value in values.items():
        model.get_parameter(name).copy_(value)
