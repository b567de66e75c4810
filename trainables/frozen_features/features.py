"""From encoded essays to one feature vector per essay."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from sklearn.preprocessing import normalize

from ell_tune.errors import BadConfig
from trainables.frozen_features.config import Config
from trainables.frozen_features.encoding import EncodedEssays, EncoderConfig
from trainables.frozen_features.layers import chosen_layers


def essay_features(config: Config, encoded: Mapping[str, EncodedEssays]) -> NDArray[np.float64]:
    """The features [N, P] that a config takes: encoder by encoder, in each layer by layer.

    With `scaling: l2`, each encoder's part of an essay's vector has length 1, so that all encoders weigh the same.

    Raises:
        BadConfig: an encoder lacks the layers asked for, or gave NaN or infinity.
    """
    parts = [_encoder_features(field, encoder, encoded[field]) for field, encoder in config.encoders.items()]
    if config.scaling == "l2":
        parts = [normalize(part_NP) for part_NP in parts]
    return np.concatenate(parts, axis=1)


def _encoder_features(field: str, config: EncoderConfig, encoded: EncodedEssays) -> NDArray[np.float64]:
    layers = chosen_layers(config.layers, encoded.num_states, f"{field}.layers")
    pooled = {
        "mean": [encoded.mean_NLD],
        "mean_std": [encoded.mean_NLD, encoded.std_NLD],
        "max": [encoded.max_NLD],
        "mean_max": [encoded.mean_NLD, encoded.max_NLD],
        "cls": [encoded.cls_NLD],
    }[config.pooling]
    features_NLD = np.concatenate([part_NLD[:, layers] for part_NLD in pooled], axis=2).astype(np.float64)
    broken_essays, broken_layers = np.nonzero(~np.isfinite(features_NLD).all(axis=2))
    if len(broken_essays) > 0:
        raise BadConfig(
            f"{field}.layers: features must be finite, but hidden state {layers[broken_layers.min()]} of "
            f"{config.backbone.name!r} is NaN or infinite for {len(np.unique(broken_essays))} of {len(features_NLD)} "
            f"essays. Use lower layers, or choose another backbone."
        )
    return features_NLD.reshape(len(features_NLD), -1)
