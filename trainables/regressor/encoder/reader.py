"""Reads essays for a model: padded batches, with the states of its frozen layers where those are kept."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from trainables.regressor.encoder.frozen_states import FrozenStates
from trainables.regressor.essays.batches import Batch, pad
from trainables.regressor.essays.text import TokenisedEssays


@dataclass(frozen=True)
class EssayReader:
    """A set of essays as the batches of one model."""

    essays: TokenisedEssays
    device: torch.device
    frozen_states: FrozenStates | None = None

    def read(self, rows: NDArray[np.int64]) -> Batch:
        """The essays of some rows, padded to the longest of them."""
        batch = pad(self.essays, rows, self.device)
        if self.frozen_states is None:
            return batch
        return replace(
            batch,
            frozen_states=self.frozen_states.read(rows, self.device),
            num_frozen_layers=self.frozen_states.num_layers,
        )
