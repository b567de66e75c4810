"""What all trials with one backbone and one text config share: the tokenised essays."""

from collections.abc import Sequence

from ell_tune.config import StrictConfig
from trainables.regressor.config import Config
from trainables.regressor.encoder.backbone import load_tokenizer
from trainables.regressor.essays.text import TextConfig, TokenisedEssays, add_paragraph_tokens, tokenise


class Preparation(StrictConfig):
    """What the tokens of an essay depend on."""

    backbone_name: str
    text: TextConfig


def preparation(config: Config) -> Preparation:
    """The part of the config that `prepare` depends on."""
    return Preparation(backbone_name=config.backbone.name, text=config.text)


def prepare(preparation: Preparation, essays: Sequence[str]) -> TokenisedEssays:
    """Tokenises the essays with the backbone's tokenizer.

    Raises:
        BadConfig: the text config leaves no room for an essay.
        UserError: the backbone cannot be found.
    """
    tokenizer = load_tokenizer(preparation.backbone_name)
    added_token_ids = add_paragraph_tokens(tokenizer, preparation.text)
    return tokenise(tokenizer, preparation.text, essays, added_token_ids)
