"""A faster disentangled self-attention for DeBERTa-v2 and v3 that computes the same.

He et al. (2021), DeBERTa: a score is query·key + query·position + key·position, each over √(3·width). transformers
gathers the position terms from products with the whole table of positions, which it copies for every essay; here they
come from `relative_windows.py`, and the rest from `disentangled_kernels.py`; or all of it from `flash_attention.py`,
where that can serve. transformers also makes the distances of all pairs of tokens anew for each batch, for which the
CPU waits for the GPU; here they are kept.
"""

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.models.deberta_v2.modeling_deberta_v2 import DebertaV2Encoder, DisentangledSelfAttention

from trainables.regressor.encoder.disentangled_kernels import attend_batched, attend_per_essay
from trainables.regressor.encoder.flash_attention import flash_kernel
from trainables.regressor.encoder.relative_windows import RelativeWindows


def accelerate_attention(backbone: PreTrainedModel) -> None:
    """Makes every disentangled self-attention of a backbone the faster one; others have none and stay as they are.

    Only the modules' class changes, so names, weights, initialisation, copies and pickles stay what they were.
    """
    for module in backbone.modules():
        if type(module) is DisentangledSelfAttention and module.relative_attention and module.pos_att_type:
            module.__class__ = FastDisentangledSelfAttention
        elif type(module) is DebertaV2Encoder:
            module.__class__ = DistanceKeepingEncoder


class DistanceKeepingEncoder(DebertaV2Encoder):
    """transformers' encoder, but it makes the distances of tokens only for a batch that is longer than all before."""

    _kept: Tensor | None = None  # [1, S, S]: a shorter batch's distances are its corner

    def get_rel_pos(
        self, hidden_states: Tensor, query_states: Tensor | None = None, relative_pos: Tensor | None = None
    ) -> Tensor | None:
        """The (bucketed) distance i − j of every pair [1, T, T] of hidden states [B, T, E]; see transformers' own."""
        if query_states is not None or relative_pos is not None or not self.relative_attention:
            given: Tensor | None = super().get_rel_pos(hidden_states, query_states, relative_pos)
            return given
        num_tokens = hidden_states.shape[1]
        if self._kept is None or self._kept.device != hidden_states.device or self._kept.shape[1] < num_tokens:
            longest = hidden_states.new_empty((1, 1 << (num_tokens - 1).bit_length(), 0))
            with torch.inference_mode(False):  # made in an evaluation, they serve the training too
                self._kept = super().get_rel_pos(longest)
        assert self._kept is not None
        return self._kept[:, :num_tokens, :num_tokens]


class FastDisentangledSelfAttention(DisentangledSelfAttention):
    """transformers' module with another `forward`.

    Outputs and gradients of tokens are the same up to rounding. Padding attends to the tokens, where transformers'
    has the mean of all values; no token sees either.
    """

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor,
        output_attentions: bool = False,
        query_states: Tensor | None = None,
        relative_pos: Tensor | None = None,
        rel_embeddings: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """The context [B, T, E] of hidden states [B, T, E], and no probabilities unless they are asked for.

        Args:
            hidden_states: what keys and values are made of, and queries without `query_states`.
            attention_mask: [B, 1, T, T], which pairs are of two tokens: as the encoder makes it from a mask [B, T].
            output_attentions: whether to return the probabilities too, which only transformers' own way has.
            query_states: what queries are made of, of the same shape.
            relative_pos: the (bucketed) distance i − j of every pair [1, T, T].
            rel_embeddings: the table of relative positions [S, E].
        """
        if output_attentions:
            outputs: tuple[Tensor, Tensor | None] = super().forward(
                hidden_states, attention_mask, True, query_states, relative_pos, rel_embeddings
            )
            return outputs
        assert relative_pos is not None and rel_embeddings is not None  # the encoder gives them
        num_terms = 1 + ("c2p" in self.pos_att_type) + ("p2c" in self.pos_att_type)
        # The root in float32, as transformers has it in every precision.
        factor = 1.0 / torch.tensor(self.attention_head_size * num_terms, dtype=torch.float32).sqrt().item()
        query_BHTD = self._heads(self.query_proj(hidden_states if query_states is None else query_states))
        key_BHTD, value_BHTD = self._heads(self.key_proj(hidden_states)), self._heads(self.value_proj(hidden_states))
        table_SE = self.pos_dropout(rel_embeddings)[: 2 * self.pos_ebd_size]
        mask_BT = attention_mask[:, 0].diagonal(dim1=-2, dim2=-1).bool()
        dropout = self.dropout.p if self.training else 0.0
        flash = flash_kernel(query_BHTD, dropout)
        if flash is not None:
            lengths_B = mask_BT.sum(dim=-1, dtype=torch.int32)
            positions = [None if rows is None else self._heads(rows[None]) for rows in self._positions(table_SE)]
            reach = (self.position_buckets, self.max_relative_positions)
            context_BHTD = flash(query_BHTD, key_BHTD, value_BHTD, lengths_B, *positions, False, factor, *reach)
        else:
            windows, key_MW, query_MW = _windows(relative_pos, self.pos_ebd_size)
            position_windows = self._position_windows(windows, key_MW, query_MW, table_SE, factor)
            inputs = (query_BHTD * factor, key_BHTD, value_BHTD, *position_windows, mask_BT, windows)
            in_full_precision = query_BHTD.dtype in (torch.float32, torch.float64)
            if query_BHTD.device.type == "cpu" and in_full_precision and dropout == 0.0:
                context_BHTD = attend_per_essay(*inputs)
            else:
                context_BHTD = attend_batched(*inputs, dropout=dropout)
        return context_BHTD.transpose(1, 2).flatten(2), None

    def _heads(self, x_BTE: Tensor) -> Tensor:
        return x_BTE.unflatten(-1, (self.num_attention_heads, -1)).transpose(1, 2)

    def _positions(self, table_SE: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """The keys (c2p) and the queries (p2c) [S, E] of relative positions."""
        keys = queries = None
        if "c2p" in self.pos_att_type:
            project: Any = self.key_proj if self.share_att_key else self.pos_key_proj
            keys = project(table_SE)
        if "p2c" in self.pos_att_type:
            project = self.query_proj if self.share_att_key else self.pos_query_proj
            queries = project(table_SE)
        return keys, queries

    def _position_windows(
        self, windows: RelativeWindows, key_MW: Tensor, query_MW: Tensor, table_SE: Tensor, factor: float
    ) -> tuple[Tensor | None, Tensor | None]:
        """The windows of the positions' keys and of their scaled queries, whose rows of the table are given."""
        keys, queries = self._positions(table_SE)
        if keys is not None:
            keys = windows.of_table(keys, key_MW, self.num_attention_heads)
        if queries is not None:
            queries = windows.of_table(queries * factor, query_MW, self.num_attention_heads)
        return keys, queries


@lru_cache(maxsize=1)
def _windows(relative_pos: Tensor, span: int) -> tuple[RelativeWindows, Tensor, Tensor]:
    """The windows of (bucketed) distances [1, T, T], and the rows [M, W] of the table that keys and queries look up.

    All layers of a forward pass are given the same distances, so the first one's rows serve all. A distance must depend
    on i − j alone.
    """
    windows = RelativeWindows(relative_pos.shape[-1], relative_pos.device)
    with torch.inference_mode(False):  # made in an evaluation, they serve the training too
        distance_MW = windows.distances()
        # A row of p2c is a key and a column a query: the distances run the other way.
        return windows, _table_index(relative_pos, distance_MW, span), _table_index(relative_pos, -distance_MW, span)


def _table_index(relative_pos: Tensor, distance_MW: Tensor, span: int) -> Tensor:
    """The row of the table for each distance i − j, which `relative_pos` [1, T, T] tells bucketed."""
    first = distance_MW.clamp(min=0)
    second = (-distance_MW).clamp(min=0)
    return (relative_pos[0, first, second] + span).clamp(0, 2 * span - 1)
