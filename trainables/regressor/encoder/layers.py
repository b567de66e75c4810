"""What the rest needs to know of an encoder's insides: its layers, their parameters, and how to run a part of them."""

import re
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel


def encoder_layers(backbone: PreTrainedModel) -> nn.ModuleList:
    """The encoder's layers, bottom first."""
    layers = backbone.get_submodule("encoder.layer")
    assert isinstance(layers, nn.ModuleList)
    return layers


# transformers' model types of which tests compare every hidden state with the model's own. Others have layers in
# `encoder.layer` too, but some of them do more before, between or after those (Megatron's BERT ends with a LayerNorm).
FAMILIES = ("bert", "roberta", "xlm-roberta", "deberta", "deberta-v2", "electra", "mpnet", "longformer")
_SPLITTABLE = set(FAMILIES) - {"electra", "longformer"}  # those do more to a model's inputs than to embed them


def can_be_split(backbone: PreTrainedModel) -> bool:
    """Whether `hidden_states` can run a part of this encoder's layers."""
    # DeBERTa-v2-xlarge's convolution runs after the first layer of those it is given, whichever that is.
    return backbone.config.model_type in _SPLITTABLE and getattr(backbone.encoder, "conv", None) is None


def hidden_states(
    backbone: PreTrainedModel, inputs: Tensor, mask_BT: Tensor, first: int = 0, last: int | None = None
) -> list[Tensor]:
    """Hidden states `first` to `last` (None: the top), each [B, T, D]; 0 is the embeddings' output, k the k-th layer's.

    Args:
        backbone: with `first` or `last` given, one that `can_be_split`.
        inputs: token ids [B, T] if `first` is 0, else hidden state `first`, which also is the first of the result.
        mask_BT: True for tokens, False for padding.
    """
    encoder, embeddings, layers = backbone.get_submodule("encoder"), backbone.embeddings, encoder_layers(backbone)
    chosen = layers[first:last]
    if not chosen:
        return [inputs]
    states: list[Tensor] = []

    def note_input(module: nn.Module, arguments: Any) -> None:
        states.append(arguments[0])

    def note_output(module: nn.Module, arguments: Any, output: Any) -> None:
        states.append(output[0] if isinstance(output, tuple) else output)

    def replace_output(module: nn.Module, arguments: Any, output: Tensor) -> None:
        states[-1] = output

    hooks = [chosen[0].register_forward_pre_hook(note_input)]
    hooks += [layer.register_forward_hook(note_output) for layer in chosen]
    if (convolution := getattr(encoder, "conv", None)) is not None:  # DeBERTa-v2-xlarge's, on top of the first layer
        hooks.append(convolution.register_forward_hook(replace_output))
    # In place, for the length of this call: a part of the encoder is the same modules, run by the same code.
    encoder.layer = chosen
    if first:
        backbone.embeddings = _Given()
    try:
        backbone(**{"inputs_embeds" if first else "input_ids": inputs}, attention_mask=mask_BT.long())
    finally:
        backbone.embeddings, encoder.layer = embeddings, layers
        for hook in hooks:
            hook.remove()
    return [state_BTD[:, : mask_BT.shape[1]] for state_BTD in states]  # Longformer pads to whole attention windows


class _Given(nn.Module):
    """In place of embeddings: the hidden state that it is given."""

    def forward(self, inputs_embeds: Tensor, **others: Any) -> Tensor:
        return inputs_embeds


def parameter_depth(name: str) -> int:
    """How high a parameter of the backbone (by its name there) sits: 0 for embeddings, k for the k-th layer.

    What serves all layers (DeBERTa's relative positions, ELECTRA's projection) counts as embeddings: it must
    be frozen or slowed with the lowest part that it feeds. DeBERTa-v2-xlarge's convolution belongs to the
    first layer.
    """
    if name.startswith("encoder.conv."):
        return 1
    layer = re.match(r"encoder\.layer\.(\d+)\.", name)
    return 1 + int(layer[1]) if layer else 0
