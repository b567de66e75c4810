"""Hidden states of every family that is let in: those that the model itself returns."""

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModel

from trainables.regressor.encoder.layers import FAMILIES, can_be_split, hidden_states

SIZES: dict[str, Any] = {
    "vocab_size": 30,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 40,
}
RELATIVE = {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]}
SPECIAL: dict[str, dict[str, Any]] = {
    "deberta": RELATIVE,
    "deberta-v2": RELATIVE | {"position_buckets": 4, "norm_rel_ebd": "layer_norm"},
    "electra": {"embedding_size": 8},  # and so has a projection
    "longformer": {"attention_window": 4},
}


def assert_same_states(family: str, **fields: Any) -> None:
    torch.manual_seed(0)
    backbone = AutoModel.from_config(AutoConfig.for_model(family, **SIZES, **SPECIAL.get(family, {}), **fields)).eval()
    tokens_BT = torch.randint(5, 30, (2, 9))
    mask_BT = torch.arange(9) < torch.tensor([[9], [6]])
    tokens_BT[~mask_BT] = backbone.config.pad_token_id or 0
    expected = backbone(tokens_BT, attention_mask=mask_BT.long(), output_hidden_states=True)
    assert torch.equal(expected.hidden_states[-1], expected.last_hidden_state)
    found = hidden_states(backbone, tokens_BT, mask_BT)
    assert len(found) == 4
    for state_BTD, expected_BTD in zip(found, expected.hidden_states, strict=True):
        torch.testing.assert_close(state_BTD, expected_BTD, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_hidden_states_are_the_models_own(family: str) -> None:
    # Nine tokens: no multiple of Longformer's window.
    assert_same_states(family)


def test_a_convolution_on_the_first_layer_is_in_its_hidden_state() -> None:
    assert_same_states("deberta-v2", conv_kernel_size=3)


def test_a_family_that_changes_its_inputs_is_not_split() -> None:
    for family in ("electra", "longformer"):
        config = AutoConfig.for_model(family, **SIZES, **SPECIAL[family])
        assert not can_be_split(AutoModel.from_config(config))
