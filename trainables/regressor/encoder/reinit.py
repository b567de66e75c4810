"""Random weights for the encoder's top layers.

Zhang et al. (2021), Revisiting Few-sample BERT Fine-tuning: the top layers are the most specialised to
pretraining. In FB3 one layer was mostly as good as it got. A backbone's own pooler is not loaded, so there is
none to draw anew: our pooling always starts from random weights.
"""

from typing import Literal

from pydantic import Field
from torch import nn
from transformers import PreTrainedModel

from ell_tune.config import StrictConfig
from trainables.regressor.encoder.layers import encoder_layers
from trainables.regressor.initialisers import DRAW_MATRIX


class ReinitConfig(StrictConfig):
    """How many top layers lose their pretrained weights, which of those, and to what."""

    num_layers: int = Field(
        default=0, ge=0, le=12, description="the encoder's top so many layers start from random weights"
    )
    what: Literal["all", "linear"] = Field(
        default="all",
        description="all of such a layer, or its linear maps only, and its LayerNorms stay pretrained; says nothing "
        "where num_layers is 0",
    )
    init: Literal["normal", "xavier", "kaiming", "orthogonal"] = Field(
        default="normal",
        description="how matrices are drawn; normal is what the architecture starts pretraining with; says nothing "
        "where num_layers is 0",
    )


def reinitialise_top_layers(backbone: PreTrainedModel, config: ReinitConfig) -> None:
    """Draws the weights of the top layers anew; biases become 0, LayerNorms the identity.

    `_init_weights` treats one module, not its children (hence the walk), and leaves parameters alone that
    transformers has marked as loaded: either is enough to make a reinitialisation do nothing.
    """
    for module in _reinitialised_modules(backbone, config):
        for parameter in module.parameters(recurse=False):
            parameter._is_hf_initialized = False  # type: ignore[attr-defined]
        backbone._init_weights(module)
        if config.init != "normal" and isinstance(module, nn.Linear):
            DRAW_MATRIX[config.init](module.weight)


def trained_from_pretrained(backbone: PreTrainedModel, config: ReinitConfig) -> set[nn.Parameter]:
    """The backbone's parameters that are trained, and that `reinitialise_top_layers` leaves alone."""
    return {parameter for parameter in pretrained_parameters(backbone, config) if parameter.requires_grad}


def pretrained_parameters(backbone: PreTrainedModel, config: ReinitConfig) -> set[nn.Parameter]:
    """The backbone's parameters that `reinitialise_top_layers` leaves alone."""
    redrawn = {
        parameter
        for module in _reinitialised_modules(backbone, config)
        for parameter in module.parameters(recurse=False)
    }
    return set(backbone.parameters()) - redrawn


def _reinitialised_modules(backbone: PreTrainedModel, config: ReinitConfig) -> list[nn.Module]:
    layers = encoder_layers(backbone)
    modules = [module for layer in layers[len(layers) - config.num_layers :] for module in layer.modules()]
    return [module for module in modules if config.what == "all" or _is_linear(module)]


def _is_linear(module: nn.Module) -> bool:
    """Whether it is a linear map, or holds biases of one: DeBERTa v1's attention has its queries' and its values'."""
    own_names = [name for name, _ in module.named_parameters(recurse=False)]
    has_biases_only = bool(own_names) and all(name.endswith("_bias") for name in own_names)
    return isinstance(module, nn.Linear) or has_biases_only
