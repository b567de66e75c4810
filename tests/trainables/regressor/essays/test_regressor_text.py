import re
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ell_tune.config import InvalidConfig, validate
from ell_tune.errors import BadConfig
from trainables import regressor
from trainables.regressor.encoder.backbone import load_tokenizer
from trainables.regressor.essays.text import TextConfig, mark_paragraphs, tokenise
from trainables.regressor.essays.truncation import HeadTailTruncation, HeadTruncation, kept_tokens
from trainables.regressor.preparing import Preparation, Reading


def prepare(tiny_deberta: Path, essays: list[str], **fields: object) -> regressor.preparing.TokenisedEssays:
    text = TextConfig.model_validate(fields)
    reading = Reading(backbone_name=str(tiny_deberta), text=text)
    return regressor.prepare(Preparation(readings={"first": reading}), essays)["first"]


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
    marked = mark_paragraphs(essay, TextConfig(paragraph_token="[P]"))
    paragraphs = [paragraph.strip() for paragraph in re.split(r"[\r\n]", essay) if paragraph.strip()]
    assert "\n" not in marked and "\r" not in marked
    assert [part.strip() for part in marked.split("[P]")] == (paragraphs or [""])
    around = mark_paragraphs(essay, TextConfig(paragraph_token="<", paragraph_end_token=">"))
    assert around == " ".join(f"< {paragraph} >" for paragraph in paragraphs or [""])


def test_a_backslash_in_the_token_is_no_escape() -> None:
    assert mark_paragraphs("a\nb", TextConfig(paragraph_token=r"\1")) == r"a \1 b"


@pytest.mark.parametrize("field", ["paragraph_token", "paragraph_end_token"])
@pytest.mark.parametrize("token", [" ", "the", "The end.", "--", ".", "\u00a0", "1", "é", "_", "#"])
def test_a_token_that_essays_contain_is_refused(field: str, token: str) -> None:
    with pytest.raises(InvalidConfig, match=rf"^text\.{field}: a token that essays do not contain is needed, but '"):
        validate(regressor.Config, {"text": {field: token}})


def test_blanks_around_a_token_are_refused() -> None:
    with pytest.raises(InvalidConfig, match=r"^text\.paragraph_token: a token without blanks at its ends.*got ' \| ';"):
        validate(regressor.Config, {"text": {"paragraph_token": " | "}})


@pytest.mark.parametrize("token", ["[PARAGRAPH]", "|", "\n", "[Chapter]", "<p>", "[NEW PARAGRAPH]", "¶", "\n\n"])
def test_a_token_of_the_field_stands_for_line_breaks_alone(tiny_deberta: Path, token: str) -> None:
    essays = prepare(tiny_deberta, ["they learn\r\n\nmany people", "they learn many people"], paragraph_token=token)
    (paragraph_id,) = essays.added_token_ids
    assert essays.essay(0).tolist().count(paragraph_id) == 1
    assert [token for token in essays.essay(0).tolist() if token != paragraph_id] == essays.essay(1).tolist()


@pytest.mark.parametrize("off", [False, "off", None])
def test_the_paragraph_token_can_be_off(off: object) -> None:
    assert validate(TextConfig, {"paragraph_token": off}).paragraph_token is None


def test_an_end_token_alone() -> None:
    message = "text: paragraph_end_token needs a paragraph_token, but they are '\\[END\\]' and off"
    with pytest.raises(InvalidConfig, match=message):
        validate(regressor.Config, {"text": {"paragraph_token": None, "paragraph_end_token": "[END]"}})


def tokens_and_ends(tiny_deberta: Path, essay: str, **fields: object) -> tuple[list[str], list[int]]:
    prepared = prepare(tiny_deberta, [essay], **fields)
    tokenizer = load_tokenizer(str(tiny_deberta))
    num_known = len(tokenizer)
    tokens = [
        f"added {token - num_known}" if token >= num_known else str(tokenizer.convert_ids_to_tokens(int(token)))
        for token in prepared.tokens
    ]
    return tokens, prepared.ends.tolist()


ESSAY = "they learn many good.\nbad people"
TEN_WORDS = " ".join(["they learn many good bad people think time help student"] * 3)
PREFIX = "good bad"

# fields, essay, tokens, ends
TABLES: dict[str, tuple[dict[str, object], str, str, list[int]]] = {
    "one token between": ({}, ESSAY, "[CLS] ▁they ▁learn ▁many ▁good . added 0 ▁bad ▁people [SEP]", [6, 9]),
    "tokens around": (
        {"paragraph_token": "[START]", "paragraph_end_token": "[END]"},
        ESSAY,
        "[CLS] added 0 ▁they ▁learn ▁many ▁good . added 1 added 0 ▁bad ▁people added 1 [SEP]",
        [7, 12],
    ),
    "a prefix": (
        {"prefix": PREFIX},
        ESSAY,
        "[CLS] ▁good ▁bad [SEP] ▁they ▁learn ▁many ▁good . added 0 ▁bad ▁people [SEP]",
        [3, 9, 12],
    ),
    "a prefix before nothing": ({"prefix": PREFIX}, "", "[CLS] ▁good ▁bad [SEP] [SEP]", [4]),
    "head": (
        {"max_length": 16},
        TEN_WORDS,
        "[CLS] ▁they ▁learn ▁many ▁good ▁bad ▁people ▁think ▁time ▁help ▁student ▁they ▁learn ▁many ▁good [SEP]",
        [15],
    ),
    "head and tail": (
        {"max_length": 16, "truncation": {"name": "head_tail", "head_frac": 0.75}},
        TEN_WORDS,
        "[CLS] ▁they ▁learn ▁many ▁good ▁bad ▁people ▁think ▁time ▁help ▁student ▁think ▁time ▁help ▁student [SEP]",
        [15],
    ),
    "tail": (
        {"max_length": 16, "truncation": {"name": "head_tail", "head_frac": 0.0}},
        TEN_WORDS,
        "[CLS] ▁think ▁time ▁help ▁student ▁they ▁learn ▁many ▁good ▁bad ▁people ▁think ▁time ▁help ▁student [SEP]",
        [15],
    ),
    "head and tail after a prefix": (
        {"max_length": 16, "truncation": {"name": "head_tail"}, "prefix": PREFIX},
        TEN_WORDS,
        "[CLS] ▁good ▁bad [SEP] ▁they ▁learn ▁many ▁good ▁bad ▁people ▁people ▁think ▁time ▁help ▁student [SEP]",
        [3, 15],
    ),
    "head after a prefix": (
        {"max_length": 16, "prefix": PREFIX},
        TEN_WORDS,
        "[CLS] ▁good ▁bad [SEP] ▁they ▁learn ▁many ▁good ▁bad ▁people ▁think ▁time ▁help ▁student ▁they [SEP]",
        [3, 15],
    ),
}


@pytest.mark.parametrize(("fields", "essay", "expected", "paragraph_ends"), TABLES.values(), ids=TABLES.keys())
def test_tokens_by_hand(
    tiny_deberta: Path, fields: dict[str, object], essay: str, expected: str, paragraph_ends: list[int]
) -> None:
    tokens, ends = tokens_and_ends(tiny_deberta, essay, **fields)
    assert " ".join(tokens) == expected
    assert [position for position, end in enumerate(ends) if end == 2] == paragraph_ends


def test_a_prefix_that_leaves_no_room(tiny_deberta: Path) -> None:
    prefix = " ".join(["good"] * 14)
    message = (
        r"text.prefix: .*must take fewer than text.max_length tokens, but they take 17 of 16. "
        r"Shorten the prefix, or raise text.max_length."
    )
    with pytest.raises(BadConfig, match=message):
        prepare(tiny_deberta, ["they"], prefix=prefix, max_length=16)
    assert prepare(tiny_deberta, ["they learn"], prefix=prefix, max_length=18).lengths.tolist() == [18]


@given(st.integers(0, 60), st.integers(1, 40), st.floats(0, 1))
def test_head_and_tail_share_the_room(num_tokens: int, room: int, head_frac: float) -> None:
    kept = kept_tokens(HeadTailTruncation(head_frac=head_frac), num_tokens, room).tolist()
    assert len(kept) == min(num_tokens, room)
    if num_tokens > room:
        num_head = next(position for position in range(room + 1) if position not in kept[position : position + 1])
        assert abs(num_head - head_frac * room) <= 0.5
        assert kept == [*range(num_head), *range(num_tokens - room + num_head, num_tokens)]
    assert kept_tokens(HeadTruncation(), num_tokens, room).tolist() == list(range(min(num_tokens, room)))


def test_wrongly_decoded_characters_are_repaired_if_asked(tiny_deberta: Path) -> None:
    garbled, right = "they â€“ learn\x85\nmany", "they – learn…\nmany"
    fixed = prepare(tiny_deberta, [garbled, right], fix_encoding=True)
    assert fixed.essay(0).tolist() == fixed.essay(1).tolist()
    left = prepare(tiny_deberta, [garbled, right])
    assert left.essay(0).tolist() != left.essay(1).tolist()


def test_predict_prepares_as_the_fit_did(tiny_deberta: Path, essays: list[str]) -> None:
    fields = {"prefix": PREFIX, "paragraph_token": "[START]", "paragraph_end_token": "[END]", "max_length": 24}
    prepared = prepare(tiny_deberta, essays, **fields)
    with tempfile.TemporaryDirectory() as folder:
        for name, content in prepared.tokenizer_files.items():
            (Path(folder) / name).write_bytes(content)
        again = tokenise(load_tokenizer(folder), TextConfig.model_validate(fields), essays)
    assert again.tokens.tolist() == prepared.tokens.tolist()
    assert again.ends.tolist() == prepared.ends.tolist()
