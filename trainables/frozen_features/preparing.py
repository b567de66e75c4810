"""What all trials with the same backbones and texts share: the encoded essays."""

from collections.abc import Mapping, Sequence
from functools import lru_cache

from ell_tune.config import StrictConfig
from ell_tune.errors import told_under
from trainables.frozen_features.config import Config
from trainables.frozen_features.encoding import EncodedEssays, encode
from trainables.regressor.encoder.backbone import load_tokenizer
from trainables.regressor.essays.text import TextConfig, add_paragraph_tokens, tokenise


class Encoding(StrictConfig):
    """What one encoder's view of the essays depends on. Layers and poolings are taken from it later."""

    backbone_name: str
    text: TextConfig


class Preparation(StrictConfig):
    """What the features of an essay are taken from: an encoding for each encoder, by its field in the config."""

    encodings: dict[str, Encoding]


def preparation(config: Config) -> Preparation:
    """The part of the config that `prepare` depends on."""
    return Preparation(
        encodings={
            field: Encoding(backbone_name=encoder.backbone.name, text=encoder.text)
            for field, encoder in config.encoders.items()
        }
    )


def prepare(preparation: Preparation, essays: Sequence[str]) -> Mapping[str, EncodedEssays]:
    """Encodes the essays with every encoder: minutes on a CPU, once per study.

    Raises:
        BadConfig: a backbone has fewer positions than its `text.max_length`.
        UserError: a backbone cannot be found.
    """
    encoded = {}
    for field, encoding in preparation.encodings.items():
        with told_under(f"{field}."):
            encoded[field] = _encoded(encoding, tuple(essays))
    return encoded


# A search that selects encoders asks for each in several combinations, from one process.
@lru_cache(maxsize=4)
def _encoded(encoding: Encoding, essays: tuple[str, ...]) -> EncodedEssays:
    tokenizer = load_tokenizer(encoding.backbone_name)
    added_token_ids = add_paragraph_tokens(tokenizer, encoding.text)
    return encode(encoding.backbone_name, tokenise(tokenizer, encoding.text, essays, added_token_ids))
