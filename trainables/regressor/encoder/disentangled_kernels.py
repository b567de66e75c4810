"""softmax(query·key + content-to-position + position-to-content) · value, in two exact ways.

`attend_per_essay` is for a CPU: one essay's scores at a time stay in its cache, and nothing as large as a batch's
scores is written but the probabilities that the backward pass needs. `attend_batched` is for a GPU, and wherever
attention has dropout: torch's own attention, the positions being its bias.

Shapes as in `relative_windows.py`, and B essays. The queries and the query windows are already scaled.
"""

from functools import reduce
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn.functional import scaled_dot_product_attention

from trainables.regressor.encoder.relative_windows import RelativeWindows


def attend_per_essay(
    query_BHTD: Tensor,
    key_BHTD: Tensor,
    value_BHTD: Tensor,
    key_windows_GWD: Tensor | None,
    query_windows_GWD: Tensor | None,
    mask_BT: Tensor,
    windows: RelativeWindows,
) -> Tensor:
    """The context [B, H, T, D]; a term without windows is left out. Full precision only."""
    context_BHTD: Tensor = _PerEssay.apply(
        query_BHTD, key_BHTD, value_BHTD, key_windows_GWD, query_windows_GWD, mask_BT, windows
    )
    return context_BHTD


def attend_batched(
    query_BHTD: Tensor,
    key_BHTD: Tensor,
    value_BHTD: Tensor,
    key_windows_GWD: Tensor | None,
    query_windows_GWD: Tensor | None,
    mask_BT: Tensor,
    windows: RelativeWindows,
    dropout: float = 0.0,
) -> Tensor:
    """The context [B, H, T, D]; a term without windows is left out. `dropout` is that of the probabilities."""
    terms = []
    if key_windows_GWD is not None:
        terms.append(_relative_scores(query_BHTD, key_windows_GWD, windows))
    if query_windows_GWD is not None:
        terms.append(_relative_scores(key_BHTD, query_windows_GWD, windows).transpose(-1, -2))
    bias_BHTT = reduce(torch.add, terms).masked_fill(~mask_BT[:, None, None, :], torch.finfo(query_BHTD.dtype).min)
    return scaled_dot_product_attention(
        query_BHTD, key_BHTD, value_BHTD, attn_mask=bias_BHTT, dropout_p=dropout, scale=1.0
    )


def _relative_scores(x_BHTD: Tensor, windows_GWD: Tensor, windows: RelativeWindows) -> Tensor:
    product_GBRW = torch.einsum("bgrd,gwd->gbrw", windows.blocks(x_BHTD), windows_GWD)
    aligned_GBRT: Tensor = _Align.apply(product_GBRW, windows)
    scores_BHMRT = aligned_GBRT.transpose(0, 1).unflatten(1, (-1, windows.num_blocks))
    return scores_BHMRT.flatten(2, 3)[:, :, : windows.num_tokens]


class _Align(Function):
    """`RelativeWindows.aligned`, whose backward by torch would take a detour over an index for every element."""

    @staticmethod
    def forward(ctx: Any, product_XRW: Tensor, windows: RelativeWindows) -> Tensor:
        ctx.windows, ctx.shape = windows, product_XRW.shape
        return windows.aligned(product_XRW)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        product_XRW = gradients[0].new_zeros(ctx.shape)
        ctx.windows.aligned(product_XRW).copy_(gradients[0])
        return product_XRW, None


class _PerEssay(Function):
    """Disentangled attention (He et al. 2021, DeBERTa), essay by essay, with its gradient written out."""

    @staticmethod
    def forward(
        ctx: Any,
        query_BHTD: Tensor,
        key_BHTD: Tensor,
        value_BHTD: Tensor,
        key_windows_GWD: Tensor | None,
        query_windows_GWD: Tensor | None,
        mask_BT: Tensor,
        windows: RelativeWindows,
    ) -> Tensor:
        num_essays, num_heads, num_tokens, _ = query_BHTD.shape
        trains = any(ctx.needs_input_grad)
        # Without a backward pass, one essay's scores are written over the last one's.
        num_kept = num_essays if trains else 1
        probabilities_BHTT = query_BHTD.new_empty(num_kept, num_heads, num_tokens, num_tokens)
        context_BHTD = torch.empty_like(query_BHTD)
        terms = _terms(query_BHTD, key_BHTD, key_windows_GWD, query_windows_GWD, windows)
        product_GRW = _products(query_BHTD, windows)
        for essay in range(num_essays):
            scores_HTT = probabilities_BHTT[essay % num_kept]
            torch.bmm(query_BHTD[essay], key_BHTD[essay].mT, out=scores_HTT)
            for blocks_BGRD, windows_GWD, transposed in terms:
                torch.bmm(blocks_BGRD[essay], windows_GWD.mT, out=product_GRW)
                for scores, product in windows.pairs(scores_HTT.mT if transposed else scores_HTT, product_GRW):
                    scores.add_(product)
            padding = (~mask_BT[essay]).nonzero().flatten()  # few columns, and only those are written
            scores_HTT.index_fill_(-1, padding, torch.finfo(scores_HTT.dtype).min)
            torch.softmax(scores_HTT, dim=-1, out=scores_HTT)
            torch.bmm(scores_HTT, value_BHTD[essay], out=context_BHTD[essay])
        if trains:
            ctx.windows = windows
            ctx.save_for_backward(
                query_BHTD, key_BHTD, value_BHTD, key_windows_GWD, query_windows_GWD, probabilities_BHTT, context_BHTD
            )
        return context_BHTD

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        windows: RelativeWindows = ctx.windows
        query_BHTD, key_BHTD, value_BHTD, key_windows_GWD, query_windows_GWD, probabilities_BHTT, context_BHTD = (
            ctx.saved_tensors
        )
        d_context_BHTD = gradients[0]
        d_query_BHTD, d_key_BHTD, d_value_BHTD = map(torch.empty_like, (query_BHTD, key_BHTD, value_BHTD))
        # The gradient of softmax needs each row's sum of gradient × probability; this is the same, and smaller.
        sums_BHT1 = (d_context_BHTD * context_BHTD).sum(dim=-1, keepdim=True)
        terms = _terms(query_BHTD, key_BHTD, key_windows_GWD, query_windows_GWD, windows)
        d_windows = [torch.zeros_like(windows_GWD) for _, windows_GWD, _ in terms]
        d_scores_HTT = torch.empty_like(probabilities_BHTT[0])
        # Outside of the pairs of tokens it stays zero, from essay to essay.
        d_product_GRW = _products(query_BHTD, windows).zero_()
        for essay in range(len(query_BHTD)):
            torch.bmm(probabilities_BHTT[essay].mT, d_context_BHTD[essay], out=d_value_BHTD[essay])
            torch.bmm(d_context_BHTD[essay], value_BHTD[essay].mT, out=d_scores_HTT)
            d_scores_HTT.sub_(sums_BHT1[essay]).mul_(probabilities_BHTT[essay])
            torch.bmm(d_scores_HTT, key_BHTD[essay], out=d_query_BHTD[essay])
            torch.bmm(d_scores_HTT.mT, query_BHTD[essay], out=d_key_BHTD[essay])
            for (blocks_BGRD, windows_GWD, transposed), d_windows_GWD in zip(terms, d_windows, strict=True):
                for d_scores, d_product in windows.pairs(
                    d_scores_HTT.mT if transposed else d_scores_HTT, d_product_GRW
                ):
                    d_product.copy_(d_scores)
                d_content_HTD = (d_key_BHTD if transposed else d_query_BHTD)[essay]
                d_content_HTD += windows.tokens(torch.bmm(d_product_GRW, windows_GWD))
                d_windows_GWD.baddbmm_(d_product_GRW.mT, blocks_BGRD[essay])
        remaining = iter(d_windows)
        d_key_windows = next(remaining) if key_windows_GWD is not None else None
        d_query_windows = next(remaining) if query_windows_GWD is not None else None
        return d_query_BHTD, d_key_BHTD, d_value_BHTD, d_key_windows, d_query_windows, None, None


def _terms(
    query_BHTD: Tensor,
    key_BHTD: Tensor,
    key_windows_GWD: Tensor | None,
    query_windows_GWD: Tensor | None,
    windows: RelativeWindows,
) -> list[tuple[Tensor, Tensor, bool]]:
    """The position terms: content in blocks, windows, and whether the rows are keys (scores transposed)."""
    terms = []
    if key_windows_GWD is not None:
        terms.append((windows.blocks(query_BHTD), key_windows_GWD, False))
    if query_windows_GWD is not None:
        terms.append((windows.blocks(key_BHTD), query_windows_GWD, True))
    return terms


def _products(like_BHTD: Tensor, windows: RelativeWindows) -> Tensor:
    """Room [G, R, W] for one essay's products with its windows."""
    num_heads = like_BHTD.shape[1]
    return like_BHTD.new_empty(num_heads * windows.num_blocks, windows.num_rows, windows.width)
