"""What all trials with the same backbones and texts share: the tokenised essays."""

from collections.abc import Mapping, Sequence

from ell_tune.config import StrictConfig
from ell_tune.errors import told_under
from trainables.regressor.config import Config, path_of
from trainables.regressor.encoder.backbone import load_tokenizer
from trainables.regressor.essays.text import TextConfig, TokenisedEssays, add_paragraph_tokens, tokenise


class Reading(StrictConfig):
    """What the tokens of an essay depend on."""

    backbone_name: str
    text: TextConfig

    def tokenised(self, essays: Sequence[str]) -> TokenisedEssays:
        """Essays as the backbone's tokenizer reads them, with the tokens that the text config adds.

        Raises:
            BadConfig: the backbone cannot be had, or the text config leaves no room for an essay.
        """
        tokenizer = load_tokenizer(self.backbone_name)
        added_token_ids = add_paragraph_tokens(tokenizer, self.text)
        return tokenise(tokenizer, self.text, essays, added_token_ids)


class Preparation(StrictConfig):
    """How each encoder reads an essay, by the encoder's name."""

    readings: dict[str, Reading]


def preparation(config: Config) -> Preparation:
    """The part of the config that `prepare` depends on."""
    return Preparation(
        readings={
            name: Reading(backbone_name=encoder.backbone.name, text=encoder.text)
            for name, encoder in config.encoders.items()
        }
    )


def prepare(preparation: Preparation, essays: Sequence[str]) -> Mapping[str, TokenisedEssays]:
    """Tokenises the essays with each backbone's tokenizer.

    Raises:
        BadConfig: a backbone cannot be had, or a text config leaves no room for an essay.
    """
    tokenised = {}
    for name, reading in preparation.readings.items():
        with told_under(path_of(name)):
            tokenised[name] = reading.tokenised(essays)
    return tokenised
