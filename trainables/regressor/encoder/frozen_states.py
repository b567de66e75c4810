"""What frozen layers say of every essay, computed once per machine and read from files ever after.

The embeddings and the frozen bottom layers of a fit never change and run without dropout: their hidden states are the
same in every epoch, every evaluation and every trial that freezes them. Hidden state k (0 is the embeddings' output)
has a file of its own, named by a hash of all that it follows from, so a trial that freezes four layers goes on from
where one that freezes three has been.
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainables.regressor.encoder.layers import can_be_split, hidden_states, parameter_depth
from trainables.regressor.encoder.pooled_encoder import PooledEncoder
from trainables.regressor.encoder.precision import Precision
from trainables.regressor.encoder.state_files import StateFile, make_room, state_folder
from trainables.regressor.essays.batches import longest_first, pad, padded_rows
from trainables.regressor.essays.text import TokenisedEssays
from trainables.regressor.halving import in_pieces

_CHUNK_SIZE = 16  # essays of like length, always the same ones: so a state's bits do not depend on who computed it
_log = logging.getLogger(__name__)


def open_frozen_states(encoder: PooledEncoder, essays: TokenisedEssays, precision: Precision) -> "FrozenStates | None":
    """The states of an encoder's frozen bottom, or None where nothing is gained or they have no room.

    A bottom is the embeddings and at least one layer above them, all frozen.
    """
    num_layers = _num_frozen_layers(encoder)
    folder = state_folder()
    if num_layers < 1 or folder is None or not can_be_split(encoder.backbone):
        return None
    lowest = min(num_layers, max(0, encoder.num_layers + 1 - encoder.pooling.num_states))
    keys = _keys(encoder, essays, num_layers, precision)[lowest:]
    width = encoder.backbone.config.hidden_size
    num_chunks = -(-len(essays.lengths) // _CHUNK_SIZE)
    if not make_room(folder, keys, 4 * width * len(essays.tokens) * len(keys)):
        return None
    try:
        files = {k: StateFile(folder, key, len(essays.tokens), width, num_chunks) for k, key in enumerate(keys, lowest)}
    except OSError as error:
        _log.warning("frozen layers are computed anew in every step: %s", error)
        return None
    return FrozenStates(encoder, essays, precision, files)


class FrozenStates:
    """Hidden states of an encoder's frozen bottom, up to state `num_layers`, filled as they are asked for."""

    def __init__(
        self, encoder: PooledEncoder, essays: TokenisedEssays, precision: Precision, files: Mapping[int, StateFile]
    ) -> None:
        self.num_layers = max(files)
        self._backbone = encoder.backbone
        self._essays = essays
        self._precision = precision
        self._files = files
        order = longest_first(essays.lengths)
        self._chunks = [order[start : start + _CHUNK_SIZE] for start in range(0, len(order), _CHUNK_SIZE)]
        self._chunk_of_N = np.empty(len(order), dtype=np.int64)
        for index, rows in enumerate(self._chunks):
            self._chunk_of_N[rows] = index

    def read(self, rows: NDArray[np.int64], device: torch.device) -> tuple[Tensor, ...]:
        """The states of some essays, lowest first: each [B, T, D], padded to the longest of them."""
        for chunk in np.unique(self._chunk_of_N[rows]):
            if missing := [k for k, file in self._files.items() if not file.has(chunk)]:
                self._compute(missing, int(chunk), device)
        return tuple(self._padded(k, rows, device) for k in self._files)

    @torch.no_grad()
    def _compute(self, missing: list[int], chunk: int, device: torch.device) -> None:
        # Where a chunk does not fit, its pieces are padded less: then the last bits do depend on the GPU's memory.
        in_pieces(partial(self._compute_piece, missing, device), self._chunks[chunk], _CHUNK_SIZE)
        for k in missing:
            self._files[k].mark(chunk)

    def _compute_piece(self, missing: list[int], device: torch.device, rows: NDArray[np.int64]) -> None:
        batch = pad(self._essays, rows, device)
        # From the state below the first that is missing, which another trial may have left. The embeddings' output is
        # not worth a start of its own.
        start = missing[0] - 1 if missing[0] - 1 in self._files else 0
        inputs = self._padded(start, rows, device) if start else batch.tokens_BT
        with self._precision.autocast():
            states = hidden_states(self._backbone, inputs, batch.mask_BT, first=start, last=self.num_layers)
        for k, state_BTD in enumerate(states, start):
            if k in missing:
                self._write(k, rows, state_BTD.float().cpu().numpy())

    def _padded(self, k: int, rows: NDArray[np.int64], device: torch.device) -> Tensor:
        return padded_rows(self._files[k].states, self._essays.offsets, rows, device)

    def _write(self, k: int, rows: NDArray[np.int64], state_BTD: NDArray[np.float32]) -> None:
        for row, state_TD in zip(rows, state_BTD, strict=True):
            start, end = self._essays.offsets[row : row + 2]
            self._files[k].states[start:end] = state_TD[: end - start]


def _num_frozen_layers(encoder: PooledEncoder) -> int:
    """How many layers from the bottom are frozen with all below them; 0 where the embeddings are trained."""
    trained = [
        parameter_depth(name) for name, parameter in encoder.backbone.named_parameters() if parameter.requires_grad
    ]
    return max(0, min(trained, default=encoder.num_layers + 1) - 1)


def _architecture(encoder: PooledEncoder) -> str:
    # How many layers there are above changes nothing below. Classes tell which code computes (`fast_attention`), which
    # the last bits depend on.
    config = {**encoder.backbone.config.to_dict(), "num_hidden_layers": None}
    classes = sorted({type(module).__qualname__ for module in encoder.backbone.modules()})
    return json.dumps([config, classes], sort_keys=True, default=str)


def _keys(encoder: PooledEncoder, essays: TokenisedEssays, num_layers: int, precision: Precision) -> list[str]:
    """For each hidden state up to `num_layers`, a hash of all that it follows from: weights, architecture, tokens."""
    parameters: list[list[Tensor]] = [[] for _ in range(num_layers + 1)]
    for name, parameter in encoder.backbone.named_parameters():
        if (depth := parameter_depth(name)) <= num_layers:
            parameters[depth].append(parameter)
    digest = hashlib.blake2b(digest_size=16)
    digest.update(_architecture(encoder).encode())
    digest.update(f"{precision.name} {encoder.backbone.device} {torch.get_num_threads()} {torch.__version__}".encode())
    digest.update(essays.tokens.tobytes() + essays.offsets.tobytes())
    keys = []
    for tensors in parameters:
        for tensor in tensors:
            digest.update(tensor.detach().cpu().numpy().tobytes())
        keys.append(digest.hexdigest())
    return keys
