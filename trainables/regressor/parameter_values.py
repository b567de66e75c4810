"""The values of a model's trained parameters, taken and given back."""

import torch
from torch import Tensor, nn


def trained_parameters(model: nn.Module) -> dict[str, Tensor]:
    """The parameters that are trained, by name. Frozen ones are the pretrained ones, which every fit loads anyway."""
    return {name: parameter.detach() for name, parameter in model.named_parameters() if parameter.requires_grad}


@torch.no_grad()
def set_parameters(model: nn.Module, values: dict[str, Tensor]) -> None:
    """Gives the named parameters other values."""
    for name, value in values.items():
        model.get_parameter(name).copy_(value)
