"""Where an essay's sentences and paragraphs end: found in its text, carried over to its tokens."""

import re

import numpy as np
from numpy.typing import NDArray

SENTENCE_END, PARAGRAPH_END = 1, 2

_STOP = r"[.!?]+[\"'”’)\]]*"


def boundary_pattern(paragraph_token: str | None) -> re.Pattern[str]:
    """Matches up to the end of each sentence, and of each paragraph (then the group `paragraph` is set).

    A paragraph ends with its token, or with line breaks where there is none. A sentence ends with a full stop, question
    mark or exclamation mark before white space; an abbreviation looks the same.
    """
    mark = r"[\r\n]\s*" if paragraph_token is None else re.escape(paragraph_token)
    # Tried first, so that a sentence and a paragraph that end together are one boundary.
    return re.compile(rf"(?:{_STOP})?\s*(?P<paragraph>{mark})|{_STOP}(?=\s)")


def token_ends(boundaries: re.Pattern[str], text: str, span_T2: NDArray[np.int64]) -> NDArray[np.uint8]:
    """For each token: 1 where a sentence ends with it, 2 where a paragraph does, else 0 [T].

    Works on any of a text's tokens in their order: of a segment, the last token that is there is marked. The very last
    token is not: what follows it is not known here.

    Args:
        boundaries: what `boundary_pattern` gave.
        text: the essay as the tokenizer got it.
        span_T2: where each token's characters start and end.
    """
    matches = list(boundaries.finditer(text))
    sentences = np.array([match.end() for match in matches], dtype=np.int64)
    paragraphs = np.array([match.end() for match in matches if match["paragraph"]], dtype=np.int64)
    # A token's last character: SentencePiece counts the blank before a word to its token.
    last_T = np.maximum(span_T2[:, 1] - 1, span_T2[:, 0])
    ends_T = np.zeros(len(span_T2), dtype=np.uint8)
    ends_T[:-1][np.diff(np.searchsorted(sentences, last_T, side="right")) > 0] = SENTENCE_END
    ends_T[:-1][np.diff(np.searchsorted(paragraphs, last_T, side="right")) > 0] = PARAGRAPH_END
    return ends_T
