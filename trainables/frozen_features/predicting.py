"""Scores for essays from a folder of weights."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainables.frozen_features.encoding import encode
from trainables.frozen_features.features import essay_features
from trainables.frozen_features.weights import read_weights
from trainables.regressor.encoder.backbone import load_tokenizer
from trainables.regressor.essays.text import tokenise


def predict(weights_dir: Path, essays: Sequence[str]) -> NDArray[np.float32]:
    """Scores [N, C] for essays, in their order, unclipped, with what a fit left in `weights_dir`.

    The encoders run on a GPU if there is one.
    """
    config, scorer, added_token_ids = read_weights(weights_dir)
    if not essays:
        return np.empty((0, scorer.num_targets), dtype=np.float32)
    encoded = {}
    for field, encoder in config.encoders.items():
        folder = str(weights_dir / field)
        tokenised = tokenise(load_tokenizer(folder), encoder.text, essays, added_token_ids[field])
        encoded[field] = encode(folder, tokenised)
    return scorer.predict(essay_features(config, encoded))
