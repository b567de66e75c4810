"""The gradients of an optimiser step in micro-batches that fit into the GPU's memory."""

from collections.abc import Callable
from typing import TypeVar

import torch

from trainables.regressor.fit.fit_state import FitState
from trainables.regressor.halving import halved_until_it_fits

T = TypeVar("T")


def within_memory(state: FitState, accumulate: Callable[[int], T]) -> T:
    """What `accumulate` returns for the state's micro-batch size, which is halved, for good, until it fits.

    `accumulate` adds up the gradients of one step, and changes nothing else that it does not change back. After an
    attempt that ran out of memory there are no gradients, and the generators of random numbers are where they were
    before it. So the step is, bit for bit, that of a fit whose micro-batch size had been the smaller one before it.
    Compared with the step that did not fit, essays, labels, the loss scale and the exact gradient are the same; its
    last bits are not, nor are dropout's masks and SiFT's noise, which are drawn for a micro-batch at a time.

    Raises:
        torch.OutOfMemoryError: one essay at a time does not fit either.
    """
    on_gpu = state.model.device.type == "cuda"
    # Neither waits for the device: a GPU's generator is a seed and an offset that the CPU keeps.
    random, gpu_random = torch.get_rng_state(), torch.cuda.get_rng_state() if on_gpu else None

    def attempt(micro_batch_size: int) -> T:
        try:
            return accumulate(micro_batch_size)
        except torch.OutOfMemoryError:
            state.optimizer.zero_grad(set_to_none=True)
            torch.set_rng_state(random)
            if gpu_random is not None:
                torch.cuda.set_rng_state(gpu_random)
            raise

    result, state.micro_batch_size = halved_until_it_fits(attempt, state.micro_batch_size)
    return result
