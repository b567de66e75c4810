"""Scores for essays, from a model in memory or from a folder of weights."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from trainables.regressor.encoder.precision import Precision, best_device
from trainables.regressor.encoder.reader import EssayReader
from trainables.regressor.essays.text import tokenise
from trainables.regressor.model import Regressor
from trainables.regressor.weights import load_regressor


def predict(weights_dir: Path, essays: Sequence[str]) -> NDArray[np.float32]:
    """Scores [N, C] for essays, in their order, unclipped, with the weights that a fit left in `weights_dir`.

    Runs on a GPU if there is one, in the precision of the training; else on the CPU in float32.
    """
    config, model, tokenizers = load_regressor(weights_dir)
    device = best_device()
    precision = Precision(config.training.precision if device.type == "cuda" else "fp32", device)
    tokenised = {name: tokenise(tokenizers[name], encoder.text, essays) for name, encoder in config.encoders.items()}
    reader, rows = EssayReader(tokenised, device), np.arange(len(essays))
    return predict_rows(model.to(device), reader, rows, config.training.eval_batch_size, precision)


@torch.inference_mode()
def predict_rows(
    model: Regressor, reader: EssayReader, rows: NDArray[np.int64], batch_size: int, precision: Precision
) -> NDArray[np.float32]:
    """Scores [M, C] for some rows of an essay set, in their order. Leaves the model in eval mode.

    Raises:
        torch.OutOfMemoryError: `batch_size` essays, and half as many, and so on to a single one, do not fit.
    """
    model.eval()
    if len(rows) == 0:
        return np.empty((0, model.head.num_targets), dtype=np.float32)
    with precision.autocast():
        scores_MC: NDArray[np.float32] = reader.computed(model, rows, batch_size).cpu().numpy()
    return scores_MC
