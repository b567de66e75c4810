"""Random weights for the encoder's top layers.

Zhang et al. (2021), Revisiting Few-sample BERT Fine-tuning: the top layers are the most specialised to
pretraining. In FB3 one layer was mostly as good as it got.
"""

from pydantic import Field
from transformers import PreTrainedModel

from ell_tune.config import StrictConfig
from trainables.regressor.backbone import encoder_layers


class ReinitConfig(StrictConfig):
    """How many top layers lose their pretrained weights."""

    num_layers: int = Field(
        default=0, ge=0, le=12, description="the encoder's top so many layers start from random weights"
    )


def reinitialise_top_layers(backbone: PreTrainedModel, num_layers: int) -> None:
    """Draws all weights of the top layers anew, as the architecture does before pretraining.

    `_init_weights` treats one module, not its children (hence `apply`), and leaves parameters alone that
    transformers has marked as loaded: either is enough to make a reinitialisation do nothing.
    """
    for layer in encoder_layers(backbone)[len(encoder_layers(backbone)) - num_layers :]:
        for parameter in layer.parameters():
            parameter._is_hf_initialized = False  # type: ignore[attr-defined]
        layer.apply(backbone._init_weights)
