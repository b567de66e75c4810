"""Reads essays for a model: padded batches, with the states of its frozen layers where those are kept."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainables.regressor.encoder.frozen_states import FrozenStates
from trainables.regressor.essays.batches import Batch, Batches, longest_first, pad
from trainables.regressor.essays.text import TokenisedEssays
from trainables.regressor.halving import in_pieces


@dataclass(frozen=True)
class EssayReader:
    """A set of essays as the batches of one model, each encoder of which has its own view of them."""

    essays: Mapping[str, TokenisedEssays]  # by encoder
    device: torch.device
    frozen_states: Mapping[str, FrozenStates] = field(default_factory=dict)  # of the encoders that have some

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """The number of tokens of each essay [N], over all encoders."""
        return total_lengths(self.essays)

    def read(self, rows: NDArray[np.int64]) -> Batches:
        """The essays of some rows, padded to the longest of them."""
        return {encoder: self._batch(encoder, rows) for encoder in self.essays}

    def computed(self, compute: Callable[[Batches], Tensor], rows: NDArray[np.int64], batch_size: int) -> Tensor:
        """What `compute` returns for batches of some essays, at least one, as one tensor in the order of `rows`.

        Essays of like length share a batch. The longest come first: what does not fit into memory fails at once.

        Raises:
            torch.OutOfMemoryError: `batch_size` essays, and half as many, and so on to a single one, do not fit.
        """

        def compute_piece(piece: NDArray[np.int64]) -> Tensor:
            return compute(self.read(piece))

        order = longest_first(self.lengths[rows])
        return torch.cat(in_pieces(compute_piece, rows[order], batch_size))[np.argsort(order)]

    def _batch(self, encoder: str, rows: NDArray[np.int64]) -> Batch:
        batch = pad(self.essays[encoder], rows, self.device)
        if (kept := self.frozen_states.get(encoder)) is None:
            return batch
        return replace(batch, frozen_states=kept.read(rows, self.device), num_frozen_layers=kept.num_layers)


def total_lengths(essays: Mapping[str, TokenisedEssays]) -> NDArray[np.int64]:
    """The number of tokens of each essay [N], over all encoders."""
    return np.sum([tokenised.lengths for tokenised in essays.values()], axis=0)
