"""Which of an encoder's hidden states are used. Hidden state 0 is the embeddings' output, k is that of layer k."""

from typing import Literal

from pydantic import Field

from ell_tune.config import StrictConfig, one_of
from ell_tune.errors import BadConfig


class AllLayers(StrictConfig):
    """Every hidden state."""

    name: Literal["all"] = "all"


class LastLayers(StrictConfig):
    """The last hidden states."""

    name: Literal["last"] = "last"
    num_layers: int = Field(default=1, ge=1, le=49, description="so many hidden states")


class LayerSpan(StrictConfig):
    """Neighbouring hidden states anywhere in the encoder; one layer alone is a span of 1."""

    name: Literal["span"] = "span"
    first: int = Field(default=1, ge=0, le=48, description="the lowest hidden state; 0 is the embeddings")
    num_layers: int = Field(default=1, ge=1, le=49, description="so many hidden states from there upwards")


LayersConfig = one_of(AllLayers, LastLayers, LayerSpan)


def chosen_layers(config: StrictConfig, num_states: int, field: str) -> range:
    """The numbers of the hidden states that a config chooses, lowest first.

    Args:
        config: one of the three above.
        num_states: the encoder's hidden states, embeddings included.
        field: where the config stands, for a message.

    Raises:
        BadConfig: the encoder does not have them all.
    """
    match config:
        case LastLayers():
            layers = range(num_states - config.num_layers, num_states)
        case LayerSpan():
            layers = range(config.first, config.first + config.num_layers)
        case _:
            layers = range(num_states)
    if layers.start < 0 or layers.stop > num_states:
        raise BadConfig(
            f"{field}: only hidden states that the encoder has can be used, which are 0 (embeddings) to "
            f"{num_states - 1} (top layer), but {layers.start} to {layers.stop - 1} are asked for. Lower num_layers or "
            f"first, or choose a deeper backbone."
        )
    return layers
