"""A device with little memory, for models on a CPU."""

import weakref

import pytest
import torch
from torch import Tensor

from trainables.regressor.essays.batches import Batches
from trainables.regressor.model import Regressor


class SmallDevice:
    """Runs out of memory when a forward pass has more than `limit` essays, with its tensors in memory by then.

    From the training pass number `shrinks_at` (from 1) on the limit is `small_limit`: as if another process had come.
    Before each pass it makes sure that nothing is left of those that failed.
    """

    def __init__(self, limit: int, shrinks_at: int | None = None, small_limit: int = 0) -> None:
        self.limit = limit
        self.shrinks_at = shrinks_at
        self.small_limit = small_limit
        self.train_sizes: list[int] = []  # of the forward passes tried, failed or not
        self.eval_sizes: list[int] = []
        self.num_failures = 0
        self._failed: list[weakref.ref[Tensor]] = []

    def install(self, monkeypatch: pytest.MonkeyPatch) -> "SmallDevice":
        features = Regressor.features

        def limited(model: Regressor, batches: Batches) -> Tensor:
            assert self.num_tensors_left() == 0
            num_essays = len(batches["first"].tokens_BT)
            (self.train_sizes if model.training else self.eval_sizes).append(num_essays)
            if len(self.train_sizes) == self.shrinks_at:
                self.limit = self.small_limit
            features_BP = features(model, batches)
            if num_essays > self.limit:
                self.num_failures += 1
                self._failed.append(weakref.ref(features_BP))
                raise torch.OutOfMemoryError("Tried to allocate 2 GiB")
            return features_BP

        monkeypatch.setattr(Regressor, "features", limited)
        return self

    def num_tensors_left(self) -> int:
        """How many features of failed passes are still in memory."""
        return sum(reference() is not None for reference in self._failed)
