"""Batches of essays of like length, padded only to the longest essay among them."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainables.regressor.essays.text import TokenisedEssays

_POOL_BATCHES = 50  # so many batches' essays are drawn at random, then sorted by length


@dataclass(frozen=True)
class Batch:
    """B essays, padded on the right to T tokens."""

    tokens_BT: Tensor  # ids
    mask_BT: Tensor  # True for tokens, False for padding
    ends_BT: Tensor  # uint8: 1 where a token ends a sentence, 2 where it ends a paragraph, else 0
    frozen_states: tuple[
        Tensor, ...
    ] = ()  # [B, T, D] each, lowest first: those of the frozen bottom, where they are kept
    num_frozen_layers: int = 0  # of that bottom; the last of its states is what the layer above it takes


Batches = Mapping[str, Batch]  # the same essays as each encoder of a model reads them, by its name


def length_grouped_batches(
    rows: NDArray[np.int64], lengths: NDArray[np.int64], batch_size: int, seed: int, epoch: int
) -> list[NDArray[np.int64]]:
    """All rows in random batches of like length, each batch longest first, the batches in random order.

    Depends on nothing but its arguments, so a resumed fit sees the same batches.

    Args:
        rows: the rows to batch [M].
        lengths: the number of tokens of every row of the essay set [N].
        batch_size: of all batches but one, which takes what is left over.
        seed: of the fit.
        epoch: counted from 0.
    """
    random = np.random.default_rng([seed, epoch])
    shuffled = random.permutation(rows)
    batches = []
    for start in range(0, len(rows), _POOL_BATCHES * batch_size):
        pool = shuffled[start : start + _POOL_BATCHES * batch_size]
        pool = pool[longest_first(lengths[pool])]
        batches += [pool[i : i + batch_size] for i in range(0, len(pool), batch_size)]
    return [batches[i] for i in random.permutation(len(batches))]


def longest_first(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """The order that sorts by falling length; equal lengths keep their order."""
    return np.argsort(-lengths, kind="stable")


def pad(essays: TokenisedEssays, rows: NDArray[np.int64], device: torch.device) -> Batch:
    """Some essays' tokens, padded to the longest of them."""
    lengths_B = essays.lengths[rows]
    tokens_BT = np.full((len(rows), lengths_B.max()), essays.pad_token_id, dtype=np.int64)
    ends_BT = np.zeros(tokens_BT.shape, dtype=np.uint8)
    for index, row in enumerate(rows):
        tokens_BT[index, : lengths_B[index]] = essays.essay(row)
        ends_BT[index, : lengths_B[index]] = essays.essay_ends(row)
    mask_BT = np.arange(tokens_BT.shape[1]) < lengths_B[:, None]
    return Batch(
        tokens_BT=to_device(torch.from_numpy(tokens_BT), device),
        mask_BT=to_device(torch.from_numpy(mask_BT), device),
        ends_BT=to_device(torch.from_numpy(ends_BT), device),
    )


def padded_rows(
    values_ND: NDArray[np.float32], offsets: NDArray[np.int64], rows: NDArray[np.int64], device: torch.device
) -> Tensor:
    """The values [B, T, D] of some essays' tokens, zero beyond each essay's end, from those of all tokens."""
    lengths_B = offsets[rows + 1] - offsets[rows]
    padded_BTD = np.zeros((len(rows), lengths_B.max(), values_ND.shape[1]), dtype=np.float32)
    for index, row in enumerate(rows):
        padded_BTD[index, : lengths_B[index]] = values_ND[offsets[row] : offsets[row + 1]]
    return to_device(torch.from_numpy(padded_BTD), device)


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device, copied without waiting for it."""
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
