"""Essays as tokens: one flat array for all essays, which Ray's object store shares without copying."""

import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from tokenizers import Encoding
from transformers import PreTrainedTokenizerBase

from ell_tune.config import StrictConfig
from trainables.regressor.segments import PARAGRAPH_END, boundary_pattern, token_ends

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
    ends: NDArray[np.uint8]  # parallel to `tokens`: 1 where one ends a sentence, 2 where it ends a paragraph, else 0
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

    def essay_ends(self, row: int) -> NDArray[np.uint8]:
        """Where one essay's sentences and paragraphs end, for each of its tokens."""
        return self.ends[self.offsets[row] : self.offsets[row + 1]]


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
    encodings = _encode(tokenizer, config.max_length, texts)
    boundaries = boundary_pattern(config.paragraph_token)
    lengths = np.fromiter(map(len, encodings), dtype=np.int64, count=len(encodings))
    tokens = [np.array(encoding.ids, dtype=np.int32) for encoding in encodings]
    ends = [_essay_ends(boundaries, text, encoding) for text, encoding in zip(texts, encodings, strict=True)]
    assert tokenizer.pad_token_id is not None
    return TokenisedEssays(
        tokens=np.concatenate([np.empty(0, dtype=np.int32), *tokens]),
        ends=np.concatenate([np.empty(0, dtype=np.uint8), *ends]),
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


def _encode(tokenizer: PreTrainedTokenizerBase, max_length: int, texts: Sequence[str]) -> Sequence[Encoding]:
    if not texts:
        return []
    encodings = tokenizer(list(texts), truncation=True, max_length=max_length, verbose=False).encodings
    assert encodings is not None  # the tokenizer is a fast one
    return encodings


def _essay_ends(boundaries: re.Pattern[str], text: str, encoding: Encoding) -> NDArray[np.uint8]:
    # The special tokens around the essay belong to its first and its last sentence.
    (inside,) = np.nonzero([sequence is not None for sequence in encoding.sequence_ids])
    ends = np.zeros(len(encoding), dtype=np.uint8)
    ends[inside] = token_ends(boundaries, text, np.array(encoding.offsets)[inside])
    ends[-1] = PARAGRAPH_END
    return ends


def _saved_files(tokenizer: PreTrainedTokenizerBase) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}
