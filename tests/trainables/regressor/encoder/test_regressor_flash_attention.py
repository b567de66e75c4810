"""How `flashdeberta`'s kernel is called, against a plain form of its contract; the kernel itself needs a GPU."""

from typing import Any

import pytest
import torch
from deberta_pairs import ARCHITECTURES, make_pair, run
from torch import Tensor
from transformers.models.deberta_v2.modeling_deberta_v2 import build_relative_position

from trainables.regressor.encoder import disentangled_attention
from trainables.regressor.encoder.flash_attention import flash_kernel


def plain_kernel(
    query_BHTD: Tensor,
    key_BHTD: Tensor,
    value_BHTD: Tensor,
    lengths_B: Tensor,
    pos_keys_1HSD: Tensor | None,
    pos_queries_1HSD: Tensor | None,
    causal: bool,
    factor: float,
    num_buckets: int,
    max_distance: int,
) -> Tensor:
    """What the documentation of `flash_attention_with_disentangled` promises, and the zeros of its padding."""
    assert not causal and lengths_B.dtype == torch.int32
    num_tokens = query_BHTD.shape[2]
    span = num_buckets if num_buckets > 0 else max_distance
    distance_TT = build_relative_position(query_BHTD, key_BHTD, num_buckets, max_distance)[0]
    slot_TT = (distance_TT + span).clamp(0, 2 * span - 1)
    scores_BHTT = query_BHTD @ key_BHTD.mT
    if pos_keys_1HSD is not None:
        assert pos_keys_1HSD.shape[2] == 2 * span
        scores_BHTT = scores_BHTT + (query_BHTD @ pos_keys_1HSD.mT).gather(-1, slot_TT.expand_as(scores_BHTT))
    if pos_queries_1HSD is not None:
        from_keys_BHTT = (key_BHTD @ pos_queries_1HSD.mT).gather(-1, slot_TT.T.expand_as(scores_BHTT))
        scores_BHTT = scores_BHTT + from_keys_BHTT.mT
    is_token_BT = torch.arange(num_tokens) < lengths_B[:, None]
    scores_BHTT = (scores_BHTT * factor).masked_fill(~is_token_BT[:, None, None], -torch.inf)
    return scores_BHTT.softmax(dim=-1) @ value_BHTD * is_token_BT[:, None, :, None]


@pytest.mark.parametrize("num_tokens", [1, 23, 150])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_kernel_is_given_what_it_asks_for(
    architecture: str, num_tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference, fast = make_pair(**ARCHITECTURES[architecture])
    calls = []

    def counted(*arguments: Any) -> Tensor:
        calls.append(arguments)
        return plain_kernel(*arguments)

    monkeypatch.setattr(disentangled_attention, "flash_kernel", lambda query, dropout: counted)
    tokens_BT = torch.randint(1, 50, (3, num_tokens), generator=torch.Generator().manual_seed(1))
    mask_BT = (torch.arange(num_tokens) < torch.tensor([[num_tokens], [1], [num_tokens - num_tokens // 4]])).long()
    states, gradients = run(reference, tokens_BT, mask_BT)
    flash_states, flash_gradients = run(fast, tokens_BT, mask_BT)
    assert len(calls) == 2  # one a layer
    torch.testing.assert_close(flash_states, states, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(flash_gradients, gradients, rtol=1e-9, atol=1e-9)


def test_where_there_is_no_gpu_it_does_not_serve() -> None:
    assert flash_kernel(torch.zeros(1, 1, 2, 64, dtype=torch.bfloat16), dropout=0.0) is None
