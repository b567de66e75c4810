"""Essays as tokens: one flat array for all essays, which Ray's object store shares without copying."""

import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator
from tokenizers import Encoding
from transformers import PreTrainedTokenizerBase

from ell_tune.config import StrictConfig, or_off
from ell_tune.errors import BadConfig
from trainables.regressor.essays.mojibake import repair_mojibake
from trainables.regressor.essays.segments import PARAGRAPH_END, boundary_pattern, token_ends
from trainables.regressor.essays.truncation import HeadTruncation, Truncation, kept_tokens

_LINE_BREAKS = re.compile(r"\s*[\r\n]\s*")
# What essays are made of, `Generic_Name` too. Line breaks are not: a token stands in their place.
_ORDINARY = re.compile(r"""\w|[^\S\r\n]|[.,;:!?'"`()/&%$#@*+=~…‘’“”–—-]""")
_BLANK_AT_AN_END = re.compile(r"^[^\S\r\n]|[^\S\r\n]$")


class TextConfig(StrictConfig):
    """How an essay becomes tokens."""

    max_length: int = Field(
        default=512, ge=16, le=4096, description="the most tokens that are kept, with the specials and the prefix"
    )
    truncation: Truncation = Field(default=HeadTruncation(), description="what an essay loses that is longer")
    paragraph_token: or_off(str) = Field(  # type: ignore[valid-type]
        default="[PARAGRAPH]",
        min_length=1,
        description="a special token in place of line breaks, which DeBERTa's tokenizer drops, or off",
    )
    paragraph_end_token: or_off(str) = Field(  # type: ignore[valid-type]
        default=None,
        min_length=1,
        description="a special token after each paragraph; paragraph_token then stands before each, not between them",
    )
    prefix: or_off(str) = Field(  # type: ignore[valid-type]
        default=None,
        min_length=1,
        description="words before every essay, between the tokenizer's special tokens; such as the targets' names",
    )
    fix_encoding: bool = Field(default=False, description="repair characters that were decoded wrongly, as in donâ€™t")

    @field_validator("paragraph_token", "paragraph_end_token")
    @classmethod
    def _is_no_part_of_essays(cls, token: str | None) -> str | None:
        """Wherever a special token's characters stand in an essay, inside words too, the tokenizer reads the token."""
        if token is None:
            return None
        if not _ORDINARY.sub("", token):
            raise ValueError(
                f"a token that essays do not contain is needed, but {token!r} is plain words, punctuation or blanks, "
                f"and would be read wherever it stands in one; take one such as [PARAGRAPH] or <p>"
            )
        if _BLANK_AT_AN_END.search(token):
            raise ValueError(
                f"a token without blanks at its ends is needed, for blanks are put around it, but got {token!r}; leave "
                f"them out"
            )
        return token

    @model_validator(mode="after")
    def _paragraphs_are_opened(self) -> "TextConfig":
        if self.paragraph_end_token is not None and self.paragraph_token is None:
            raise ValueError(
                f"paragraph_end_token needs a paragraph_token, but they are {self.paragraph_end_token!r} and off"
            )
        if self.paragraph_end_token is not None and self.paragraph_end_token == self.paragraph_token:
            raise ValueError(
                f"paragraph_end_token must be another token than paragraph_token, but both are "
                f"{self.paragraph_token!r}; set it to off for one token between two paragraphs"
            )
        return self


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


def add_paragraph_tokens(tokenizer: PreTrainedTokenizerBase, config: TextConfig) -> tuple[int, ...]:
    """Makes each paragraph token one token; returns the ids that this added to the vocabulary."""
    tokens = [token for token in (config.paragraph_token, config.paragraph_end_token) if token is not None]
    num_known = len(tokenizer)
    tokenizer.add_tokens(tokens, special_tokens=True)
    return tuple(range(num_known, len(tokenizer)))


def tokenise(
    tokenizer: PreTrainedTokenizerBase,
    config: TextConfig,
    essays: Sequence[str],
    added_token_ids: tuple[int, ...] = (),
) -> TokenisedEssays:
    """The essays' tokens. Truncation keeps the special tokens at both ends, and the prefix.

    Raises:
        BadConfig: the prefix leaves no room for an essay.
    """
    texts = [mark_paragraphs(repair_mojibake(essay) if config.fix_encoding else essay, config) for essay in essays]
    boundaries = boundary_pattern(config.paragraph_end_token or config.paragraph_token)
    tokens, ends = [np.empty(0, dtype=np.int32)], [np.empty(0, dtype=np.uint8)]
    for text, encoding in zip(texts, _encode(tokenizer, config.prefix, texts), strict=True):
        kept, is_essay = _kept_positions(encoding, config)
        tokens.append(np.array(encoding.ids, dtype=np.int32)[kept])
        essay_ends = token_ends(boundaries, text, np.array(encoding.offsets)[kept][is_essay])
        ends.append(_with_specials(essay_ends, is_essay, has_prefix=config.prefix is not None))
    lengths = [len(essay) for essay in tokens[1:]]
    assert tokenizer.pad_token_id is not None
    return TokenisedEssays(
        tokens=np.concatenate(tokens),
        ends=np.concatenate(ends),
        offsets=np.cumsum([0, *lengths], dtype=np.int64),
        pad_token_id=int(tokenizer.pad_token_id),
        vocab_size=len(tokenizer),
        added_token_ids=added_token_ids,
        max_length=config.max_length,
        tokenizer_files=_saved_files(tokenizer),
    )


def mark_paragraphs(essay: str, config: TextConfig) -> str:
    """The essay with each run of line breaks replaced by special tokens.

    One between two paragraphs, or one before and one after each if there is a `paragraph_end_token`.
    """
    if config.paragraph_token is None:
        return essay
    paragraphs = _LINE_BREAKS.split(essay.strip())
    if config.paragraph_end_token is None:
        return f" {config.paragraph_token} ".join(paragraphs)
    return " ".join(f"{config.paragraph_token} {text} {config.paragraph_end_token}" for text in paragraphs)


def _encode(tokenizer: PreTrainedTokenizerBase, prefix: str | None, texts: list[str]) -> Sequence[Encoding]:
    """Each text's tokens with special tokens, not yet truncated; after a prefix the text is the second sequence."""
    if not texts:
        return []
    sequences = [texts] if prefix is None else [[prefix] * len(texts), texts]
    encodings = tokenizer(*sequences, verbose=False).encodings
    assert encodings is not None  # the tokenizer is a fast one
    return encodings


def _kept_positions(encoding: Encoding, config: TextConfig) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The positions of the tokens that truncation keeps, and which of these are the essay's own."""
    essay = 0 if config.prefix is None else 1
    is_essay = np.array([sequence == essay for sequence in encoding.sequence_ids])
    (inside,) = is_essay.nonzero()
    room = config.max_length - (len(is_essay) - len(inside))
    if room < 1:
        raise BadConfig(
            f"text.prefix: the prefix and the special tokens must take fewer than text.max_length tokens, but they "
            f"take {config.max_length - room} of {config.max_length}. Shorten the prefix, or raise text.max_length."
        )
    chosen = inside[kept_tokens(config.truncation, len(inside), room)]
    kept = np.union1d((~is_essay).nonzero()[0], chosen)
    return kept, is_essay[kept]


def _with_specials(essay_ends: NDArray[np.uint8], is_essay: NDArray[np.bool_], has_prefix: bool) -> NDArray[np.uint8]:
    """The ends for all tokens: special ones join the essay's first or last sentence, a prefix is its own paragraph."""
    ends = np.zeros(len(is_essay), dtype=np.uint8)
    ends[is_essay] = essay_ends
    ends[-1] = PARAGRAPH_END
    if has_prefix and is_essay.any():
        ends[is_essay.argmax() - 1] = PARAGRAPH_END
    return ends


def _saved_files(tokenizer: PreTrainedTokenizerBase) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}
