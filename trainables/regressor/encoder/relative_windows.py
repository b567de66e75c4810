"""Products of tokens with relative positions, laid out as token × token without a gather.

What is wanted is out[i, j] = x[i] · table[distance of i and j]. Within one row the distances are consecutive, and each
row's are those of the row above, shifted by one: the relative shift of Dai et al. (2019), Transformer-XL. So a product
with the table's rows in the order of their distance needs only another stride to become token × token. It is made in
blocks of rows, each with the window of distances that it can meet: T + 64 columns (on a GPU 128) instead of 2T − 1.

Shapes: H heads, T tokens, D the width of a head, E = H·D, M blocks of R rows, G = H·M, W = T + R − 1 the distances in
a window, S rows in the table of relative positions.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import embedding, pad

# On a CPU what counts is to compute little; on a GPU it is to launch little, and torch's gradient of a lookup is one
# kernel for up to 3,072 rows, a dozen beyond: 512 tokens have 8 windows of 575 rows, or 4 of 639.
_MAX_ROWS_ON_CPU, _MAX_ROWS_ON_GPU = 64, 128


class RelativeWindows:
    """The blocks of T tokens, and the window of distances that each block meets."""

    def __init__(self, num_tokens: int, device: torch.device) -> None:
        max_rows = _MAX_ROWS_ON_CPU if device.type == "cpu" else _MAX_ROWS_ON_GPU
        self.num_tokens, self._device = num_tokens, device
        self.num_rows = math.ceil(num_tokens / math.ceil(num_tokens / max_rows))  # even blocks: little padding
        self.num_blocks = math.ceil(num_tokens / self.num_rows)
        self.width = num_tokens + self.num_rows - 1

    def distances(self) -> Tensor:
        """The distance i − j [M, W] of a block's row i and a column j, for every place in its window.

        Places that only the last block's padding reaches hold the largest distance there is.
        """
        block_M1 = torch.arange(self.num_blocks, device=self._device)[:, None]
        distance_MW = (block_M1 + 1) * self.num_rows - 1 - torch.arange(self.width, device=self._device)
        return distance_MW.clamp(max=self.num_tokens - 1)

    def of_table(self, table_SE: Tensor, index_MW: Tensor, num_heads: int) -> Tensor:
        """Every block's window of the table's rows, by head [G, W, D]."""
        window_MWHD = embedding(index_MW, table_SE).unflatten(-1, (num_heads, -1))
        return window_MWHD.permute(2, 0, 1, 3).flatten(0, 1)

    def blocks(self, x_BHTD: Tensor) -> Tensor:
        """The tokens in blocks [B, G, R, D], the last block filled up with zeros."""
        padded = pad(x_BHTD, (0, 0, 0, self.num_blocks * self.num_rows - self.num_tokens))
        return padded.unflatten(2, (self.num_blocks, self.num_rows)).flatten(1, 2)

    def tokens(self, x_GRD: Tensor) -> Tensor:
        """The way back from blocks, for one essay: [H, T, D]."""
        return x_GRD.unflatten(0, (-1, self.num_blocks)).flatten(1, 2)[:, : self.num_tokens]

    def aligned(self, product_XRW: Tensor) -> Tensor:
        """A view [..., R, T] of rows × distances [..., R, W], in which column j is token j in every row."""
        *strides, row, column = product_XRW.stride()
        start = product_XRW.storage_offset() + (self.num_rows - 1) * column
        shape = (*product_XRW.shape[:-1], self.num_tokens)
        return product_XRW.as_strided(shape, (*strides, row - column, column), start)

    def pairs(self, scores_HTT: Tensor, product_GRW: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Views of the same token pairs in both: of all full blocks, then of the rest of a last one."""
        aligned_HMRT = self.aligned(product_GRW).unflatten(0, (-1, self.num_blocks))
        num_full, rest = divmod(self.num_tokens, self.num_rows)
        full_rows = num_full * self.num_rows
        yield scores_HTT[:, :full_rows].unflatten(1, (num_full, self.num_rows)), aligned_HMRT[:, :num_full]
        if rest:
            yield scores_HTT[:, full_rows:], aligned_HMRT[:, num_full, :rest]
