"""Scores for essays, from a model in memory or from a folder of weights."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainables.regressor.encoder.precision import Precision, best_device
from trainables.regressor.encoder.reader import EssayReader
from trainables.regressor.essays.batches import longest_first
from trainables.regressor.essays.text import tokenise
from trainables.regressor.halving import in_pieces
from trainables.regressor.model import Regressor
from trainables.regressor.weights import load_regressor


def predict(weights_dir: Path, essays: Sequence[str]) -> NDArray[np.float32]:
    """Scores [N, C] for essays, in their order, unclipped, with the weights that a fit left in `weights_dir`.

    Runs on a GPU if there is one, in the precision of the training; else on the CPU in float32.
    """
    config, model, tokenizer = load_regressor(weights_dir)
    device = best_device()
    precision = Precision(config.training.precision if device.type == "cuda" else "fp32", device)
    reader = EssayReader(tokenise(tokenizer, config.text, essays), device)
    rows = np.arange(len(essays))
    return predict_rows(model.to(device), reader, rows, config.training.eval_batch_size, precision)


@torch.inference_mode()
def predict_rows(
    model: Regressor, reader: EssayReader, rows: NDArray[np.int64], batch_size: int, precision: Precision
) -> NDArray[np.float32]:
    """Scores [M, C] for some rows of an essay set, in their order. Leaves the model in eval mode.

    Raises:
        torch.OutOfMemoryError: `batch_size` essays, and half as many, and so on to a single one, do not fit.
    """

    def scores(piece: NDArray[np.int64]) -> Tensor:
        batch = reader.read(piece)
        with precision.autocast():
            score_BC: Tensor = model(batch)
        return score_BC

    model.eval()
    # The longest first: what does not fit into memory fails at once.
    order = longest_first(reader.essays.lengths[rows])
    none_0C = torch.empty(0, model.head.out_features, device=reader.device)
    scores_MC = np.empty((len(rows), model.head.out_features), dtype=np.float32)
    scores_MC[order] = torch.cat([none_0C, *in_pieces(scores, rows[order], batch_size)]).cpu().numpy()
    return scores_MC
