"""Pairs of a small random DeBERTa, one of them with our attention, for tests that compare the two."""

import copy
from typing import Any

import torch
from torch import Tensor
from transformers import DebertaV2Config, DebertaV2Model, PreTrainedModel

from trainables.regressor.encoder.disentangled_attention import accelerate_attention

SIZES: dict[str, Any] = {
    "vocab_size": 50,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 32,
    "max_position_embeddings": 64,
    "relative_attention": True,
    "position_biased_input": False,
    "norm_rel_ebd": "layer_norm",
    "type_vocab_size": 0,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "v3": {"position_buckets": 16, "share_att_key": True, "pos_att_type": ["p2c", "c2p"]},
    "own projections": {"position_buckets": 16, "share_att_key": False, "pos_att_type": ["p2c", "c2p"]},
    "no buckets": {"position_buckets": -1, "share_att_key": True, "pos_att_type": ["p2c", "c2p"]},
    "fewer positions": {
        "position_buckets": -1,
        "share_att_key": False,
        "pos_att_type": ["p2c", "c2p"],
        "max_relative_positions": 10,
    },
    "c2p": {"position_buckets": 16, "share_att_key": False, "pos_att_type": ["c2p"]},
    "p2c": {"position_buckets": 16, "share_att_key": False, "pos_att_type": ["p2c"]},
    "v2-xlarge": {
        "position_buckets": 16,
        "share_att_key": True,
        "pos_att_type": ["p2c", "c2p"],
        "conv_kernel_size": 3,
        "conv_act": "gelu",
    },
}


def make_pair(
    dtype: torch.dtype = torch.float64, device: str = "cpu", spread: float = 0.3, **fields: Any
) -> tuple[PreTrainedModel, PreTrainedModel]:
    """The same random DeBERTa twice, in training mode: as transformers has it, and faster.

    `spread` makes the weights larger than at their start, so that attention is far from uniform.
    """
    torch.manual_seed(0)
    reference = DebertaV2Model(DebertaV2Config(**SIZES | fields)).to(dtype).train()
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter.add_(spread * torch.randn_like(parameter))
    reference.to(device)  # type: ignore[arg-type]  # transformers' decorator hides nn.Module.to
    fast = copy.deepcopy(reference)
    accelerate_attention(fast)
    return reference, fast


def run(backbone: PreTrainedModel, tokens_BT: Tensor, mask_BT: Tensor) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Every layer's hidden states of the tokens, and the gradient of every parameter."""
    hidden_states = backbone(input_ids=tokens_BT, attention_mask=mask_BT, output_hidden_states=True).hidden_states
    token_states = [hidden_BTE[mask_BT.bool()] for hidden_BTE in hidden_states]
    weights = torch.linspace(-1, 1, token_states[-1].numel(), dtype=token_states[-1].dtype)
    backbone.zero_grad()
    sum((states.flatten() * weights).sum() for states in token_states).backward()  # type: ignore[union-attr]
    gradients = {name: p.grad for name, p in backbone.named_parameters() if p.grad is not None}
    return [states.detach() for states in token_states], gradients
