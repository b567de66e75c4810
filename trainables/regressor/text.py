"""Essays as tokens: one flat array for all essays, which Ray's object store shares without copying."""

import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from transformers import PreTrainedTokenizerBase

from ell_tune.config import StrictConfig

_LINE_BREAKS = re.compile(r"\s*[\r\n]\s*")


class TextConfig(StrictConfig):
    """How an essay becomes tokens."""

    max_length: int = Field(
        default=512, ge=16, le=4096, description="longer essays lose their end; in tokens with specials"
    )
    paragraph_token: str | None = Field(
        default="[PARAGRAPH]",
        min_length=1,
        description="a special token in place of line breaks, which DeBERTa's tokenizer drops; null for none",
    )


@dataclass(frozen=True)
class TokenisedEssays:
    """The tokens of N essays, and all of the tokenizer that a fit needs.

    Essay i is `tokens[offsets[i]:offsets[i + 1]]`, special tokens included.
    """

    tokens: NDArray[np.int32]
    offsets: NDArray[np.int64]  # [N + 1]
    pad_token_id: int
    vocab_size: int  # with the added tokens
    added_token_ids: tuple[int, ...]  # tokens that the pretrained embeddings do not know
    max_length: int
    tokenizer_files: Mapping[str, bytes]  # file name → content, for the folder that `predict` reads

    @property
    def lengths(self) -> NDArray[np.int64]:
        """The number of tokens of each essay [N]."""
        return np.diff(self.offsets)

    def essay(self, row: int) -> NDArray[np.int32]:
        """The tokens of one essay."""
        return self.tokens[self.offsets[row] : self.offsets[row + 1]]


def add_paragraph_token(tokenizer: PreTrainedTokenizerBase, config: TextConfig) -> tuple[int, ...]:
    """Makes the paragraph token one token; returns the ids that this added to the vocabulary."""
    if config.paragraph_token is None:
        return ()
    num_known = len(tokenizer)
    tokenizer.add_tokens([config.paragraph_token], special_tokens=True)
    return tuple(range(num_known, len(tokenizer)))


def tokenise(
    tokenizer: PreTrainedTokenizerBase,
    config: TextConfig,
    essays: Sequence[str],
    added_token_ids: tuple[int, ...] = (),
) -> TokenisedEssays:
    """The essays' tokens. Truncation keeps the special tokens at both ends."""
    texts = [mark_paragraphs(essay, config.paragraph_token) for essay in essays]
    ids = tokenizer(texts, truncation=True, max_length=config.max_length, verbose=False)["input_ids"] if texts else []
    lengths = np.fromiter(map(len, ids), dtype=np.int64, count=len(ids))
    assert tokenizer.pad_token_id is not None
    return TokenisedEssays(
        tokens=np.fromiter((token for essay in ids for token in essay), dtype=np.int32, count=int(lengths.sum())),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        pad_token_id=int(tokenizer.pad_token_id),
        vocab_size=len(tokenizer),
        added_token_ids=added_token_ids,
        max_length=config.max_length,
        tokenizer_files=_saved_files(tokenizer),
    )


def mark_paragraphs(essay: str, paragraph_token: str | None) -> str:
    """The essay with each run of line breaks replaced by one paragraph token, except at its ends."""
    if paragraph_token is None:
        return essay
    return _LINE_BREAKS.sub(lambda _: f" {paragraph_token} ", essay.strip())


def _saved_files(tokenizer: PreTrainedTokenizerBase) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}
