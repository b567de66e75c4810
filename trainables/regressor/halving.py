"""Essays in pieces that fit into the GPU's memory: a piece that does not is halved."""

import gc
import logging
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

T = TypeVar("T")
_log = logging.getLogger(__name__)


def halved_until_it_fits(attempt: Callable[[int], T], size: int) -> tuple[T, int]:
    """What `attempt` returns for the first of the sizes `size`, its half (rounded up), … that fits, and that size.

    A failed attempt must leave nothing behind but its exception: nothing of it is in memory when the next one begins.

    Raises:
        torch.OutOfMemoryError: size 1 does not fit either.
    """
    while True:
        try:
            return attempt(size), size
        except torch.OutOfMemoryError:
            if size == 1:
                raise
        # Out here the exception is gone, and with it its traceback, whose frames hold all tensors of the attempt; those
        # in a reference cycle wait for the collector. The freed blocks are given back: tensors of other sizes would not
        # fit into them.
        gc.collect()
        torch.cuda.empty_cache()  # does nothing where there is no GPU
        _log.warning("out of memory with %d essays at a time: trying %d", size, -(-size // 2))
        size = -(-size // 2)


def in_pieces(compute: Callable[[NDArray[np.int64]], T], rows: NDArray[np.int64], size: int) -> list[T]:
    """What `compute` returns for consecutive pieces of `rows`, each of `size` rows until one does not fit.

    Then that piece and all after it have half the size, and so on.

    Raises:
        torch.OutOfMemoryError: one row does not fit either.
    """

    def compute_first(rest: NDArray[np.int64], size: int) -> T:
        return compute(rest[:size])

    results = []
    while len(rows):
        result, size = halved_until_it_fits(partial(compute_first, rows), min(size, len(rows)))
        results.append(result)
        rows = rows[size:]
    return results
