"""What all trials with the same backbones and texts share: the encoded essays."""

from collections.abc import Mapping, Sequence
from functools import lru_cache

from ell_tune.errors import told_under
from trainables.frozen_features.config import Config
from trainables.frozen_features.encoding import EncodedEssays, encode
from trainables.regressor.preparing import Preparation, Reading


def preparation(config: Config) -> Preparation:
    """The part of the config that `prepare` depends on. Layers and poolings are taken from the encodings later."""
    return Preparation(
        readings={
            field: Reading(backbone_name=encoder.backbone.name, text=encoder.text)
            for field, encoder in config.encoders.items()
        }
    )


def prepare(preparation: Preparation, essays: Sequence[str]) -> Mapping[str, EncodedEssays]:
    """Encodes the essays with every encoder: minutes on a CPU, once per study.

    Raises:
        BadConfig: a backbone cannot be had, or has fewer positions than its `text.max_length`.
    """
    encoded = {}
    for field, reading in preparation.readings.items():
        with told_under(f"{field}."):
            encoded[field] = _encoded(reading, tuple(essays))
    return encoded


# A search that selects encoders asks for each in several combinations, from one process.
@lru_cache(maxsize=4)
def _encoded(reading: Reading, essays: tuple[str, ...]) -> EncodedEssays:
    return encode(reading.backbone_name, reading.tokenised(essays))
