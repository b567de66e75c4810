import re
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from trainables import regressor
from trainables.regressor.backbone import load_tokenizer
from trainables.regressor.preparing import Preparation
from trainables.regressor.text import TextConfig, mark_paragraphs


def prepare(tiny_deberta: Path, essays: list[str], **fields: object) -> regressor.preparing.TokenisedEssays:
    text = TextConfig.model_validate(fields)
    return regressor.prepare(Preparation(backbone_name=str(tiny_deberta), text=text), essays)


def test_paragraphs_survive_as_one_token(tiny_deberta: Path) -> None:
    essays = prepare(tiny_deberta, ["they learn\n\n \nmany people", "they learn many people"])
    (paragraph_id,) = essays.added_token_ids
    with_break, without = essays.essay(0).tolist(), essays.essay(1).tolist()
    assert with_break.count(paragraph_id) == 1
    assert [token for token in with_break if token != paragraph_id] == without
    assert essays.vocab_size == paragraph_id + 1


def test_without_a_paragraph_token_the_break_is_lost(tiny_deberta: Path) -> None:
    essays = prepare(tiny_deberta, ["they learn\n\nmany people", "they learn many people"], paragraph_token=None)
    assert essays.essay(0).tolist() == essays.essay(1).tolist()
    assert essays.added_token_ids == ()


def test_a_paragraph_token_that_is_known_adds_nothing(tiny_deberta: Path) -> None:
    essays = prepare(tiny_deberta, ["they\nlearn"], paragraph_token="[SEP]")
    assert essays.added_token_ids == ()
    assert essays.vocab_size == len(load_tokenizer(str(tiny_deberta)))


def test_truncation_keeps_both_special_tokens(tiny_deberta: Path) -> None:
    tokenizer = load_tokenizer(str(tiny_deberta))
    essays = prepare(tiny_deberta, ["they learn many " * 100, "they"], max_length=16)
    assert essays.lengths.tolist()[0] == 16
    for row in range(2):
        assert essays.essay(row)[0] == tokenizer.cls_token_id
        assert essays.essay(row)[-1] == tokenizer.sep_token_id


def test_flat_arrays_hold_what_the_tokenizer_says(tiny_deberta: Path, essays: list[str]) -> None:
    tokenised = prepare(tiny_deberta, essays, paragraph_token=None)
    expected = load_tokenizer(str(tiny_deberta))(essays, truncation=True, max_length=512)["input_ids"]
    assert (tokenised.tokens.dtype, tokenised.offsets.dtype) == (np.int32, np.int64)
    assert [tokenised.essay(row).tolist() for row in range(len(essays))] == expected
    assert tokenised.lengths.tolist() == [len(ids) for ids in expected]


def test_no_essays(tiny_deberta: Path) -> None:
    assert prepare(tiny_deberta, []).offsets.tolist() == [0]


def test_preparation_ignores_what_tokens_do_not_depend_on() -> None:
    base = regressor.Config()
    other = base.model_copy(update={"reinit": regressor.config.ReinitConfig(num_layers=2)})
    longer = base.model_copy(update={"text": TextConfig(max_length=768)})
    assert regressor.preparation(other) == regressor.preparation(base)
    assert regressor.preparation(longer) != regressor.preparation(base)


@given(st.text(alphabet="ab \n\r\t", max_size=60))
def test_paragraph_marks(essay: str) -> None:
    marked = mark_paragraphs(essay, "[P]")
    paragraphs = [paragraph.strip() for paragraph in re.split(r"[\r\n]", essay) if paragraph.strip()]
    assert "\n" not in marked and "\r" not in marked
    assert [part.strip() for part in marked.split("[P]")] == (paragraphs or [""])


def test_a_backslash_in_the_token_is_no_escape() -> None:
    assert mark_paragraphs("a\nb", r"\1") == r"a \1 b"
