"""Essay files: what is kept exactly, and what each mistake that users make is answered with."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ell_tune.errors import UserError
from ell_tune.essays.csv_table import to_csv
from ell_tune.essays.data import (
    FB3_TARGETS,
    DataConfig,
    Essays,
    check_enough_for_folds,
    read_labelled,
    read_unlabelled,
    write_scores,
)

TWO_TARGETS = DataConfig(targets=["syntax", "grammar"])
HEADER = ["text_id", "full_text", "syntax", "grammar"]
GOOD_ROW = ["a", "t", "3", "2"]


def _file(tmp_path: Path, *rows: list[str], header: list[str] = HEADER) -> Path:
    path = tmp_path / "essays.csv"
    path.write_text(to_csv(header, rows), encoding="utf-8", newline="")
    return path


def _refused(path: Path, data: DataConfig = TWO_TARGETS) -> str:
    with pytest.raises(UserError) as error:
        read_labelled(path, data)
    message = str(error.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


def test_defaults_are_those_of_fb3() -> None:
    data = DataConfig()
    assert (data.id_column, data.text_column) == ("text_id", "full_text")
    assert data.targets == ["cohesion", "syntax", "vocabulary", "phraseology", "grammar", "conventions"]
    assert (data.min_score, data.max_score) == (1.0, 5.0)
    assert all(field.description for field in DataConfig.model_fields.values())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"min_score": 5.0}, "min_score must be below max_score, but got min_score=5.0 and max_score=5.0"),
        (
            {"targets": ["syntax", "grammar", "syntax"]},
            "different columns, but syntax is named more than once",
        ),
        ({"text_column": "text_id"}, "different columns, but text_id is named more than once"),
        ({"targets": []}, "at least 1 item"),
        ({"max_score": float("inf")}, "finite number"),
        ({"id_column": ""}, "at least 1 character"),
        ({"target": ["syntax"]}, "Extra inputs are not permitted"),
    ],
)
def test_config_refuses(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DataConfig.model_validate(fields)


def test_reads_labelled_essays(tmp_path: Path) -> None:
    path = _file(
        tmp_path,
        ["x", "2", "007", "First.\r\n\r\nSecond,\rthird.", "3.5", "school"],
        ["y", " 5.0", "NA", " kept as it is ", "1", "home"],
        ["z", "4.5", "1E5", "Sí, señor – “ok”", "2", ""],
        header=["note", "grammar", "text_id", "full_text", "syntax", "prompt"],
    )
    essays = read_labelled(path, TWO_TARGETS)
    assert essays.ids == ("007", "NA", "1E5")
    assert essays.texts == ("First.\n\nSecond,\nthird.", " kept as it is ", "Sí, señor – “ok”")
    assert essays.labels_NC is not None and essays.labels_NC.dtype == np.float32
    assert essays.labels_NC.tolist() == [[3.5, 2.0], [1.0, 5.0], [2.0, 4.5]]
    assert len(essays) == 3


def test_byte_order_mark_and_name_do_not_matter(tmp_path: Path) -> None:
    path = _file(tmp_path, ["a", "A text.", "3", "2"])
    marked_path = tmp_path / "other_name.csv"
    marked_path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    first, second = read_labelled(path, TWO_TARGETS), read_labelled(marked_path, TWO_TARGETS)
    assert first.fingerprint == second.fingerprint


def _essays(ids: list[str], texts: list[str], labels: list[list[float]] | None) -> Essays:
    return Essays(tuple(ids), tuple(texts), None if labels is None else np.array(labels, dtype=np.float32))


def test_fingerprint_tells_contents_apart() -> None:
    variants = [
        _essays(["a", "b"], ["x", "y"], [[1], [2]]),
        _essays(["b", "a"], ["x", "y"], [[1], [2]]),
        _essays(["a", "b"], ["xy", ""], [[1], [2]]),
        _essays(["a", "b"], ["x", "y"], [[2], [1]]),
        _essays(["a"], ["x"], [[1, 2]]),
        _essays(["a", "b"], ["x", "y"], None),
    ]
    fingerprints = [variant.fingerprint for variant in variants]
    assert len(set(fingerprints)) == len(variants)
    assert _essays(["a", "b"], ["x", "y"], [[1], [2]]).fingerprint == fingerprints[0]
    assert len(bytes.fromhex(fingerprints[0])) == 32


@pytest.mark.parametrize(
    ("second_row", "message"),
    [
        ([" ", "t", "3", "2"], "every essay needs an id, but the column 'text_id' is empty in row 2."),
        (
            ["b", " \n ", "3", "2"],
            "needs a text, but in the column 'full_text' row 2 (text_id 'b') is empty.",
        ),
        (
            ["b", "\u200b \ufeff\u2060\u00ad\u2800\u3164\ufe0f\n", "3", "2"],
            "needs a text, but in the column 'full_text' row 2 (text_id 'b') has only invisible characters.",
        ),
        (["\u200b", "t", "3", "2"], "every essay needs an id, but the column 'text_id' is empty in row 2."),
        (
            [" a\t", "u", "3", "2"],
            "column 'text_id', but row 2 (text_id ' a\\t') repeats the id of row 1 but for the spaces around it.",
        ),
        (["b", "t", "3", ""], "in the column 'grammar' row 2 (text_id 'b') is empty."),
        (["b", "t", "x", "2"], "in the column 'syntax' row 2 (text_id 'b') has 'x', which is not a number."),
        (["b", "t", "3,5", "2"], "row 2 (text_id 'b') has '3,5', which is not a number."),
        (["b", "t", "nan", "2"], "in the column 'syntax' row 2 (text_id 'b') has 'nan'."),
        (["b", "t", "3", "-inf"], "in the column 'grammar' row 2 (text_id 'b') has '-inf'."),
        (
            ["b", "t", "3", "5.5"],
            "must be a number from 1 to 5, but in the column 'grammar' row 2 (text_id 'b')",
        ),
        (["b", "t", "0.99", "2"], "in the column 'syntax' row 2 (text_id 'b') has '0.99'."),
        (["a", "u", "3", "2"], "row 2 (text_id 'a') repeats the id of row 1."),
    ],
)
def test_refuses_a_bad_row(tmp_path: Path, second_row: list[str], message: str) -> None:
    assert message in _refused(_file(tmp_path, GOOD_ROW, second_row))


@pytest.mark.parametrize("text", ["日本語", "e\u0301", "नमस्ते", "\u200b.", "👍\ufe0f", "مرحبا"])
def test_a_text_in_any_script_is_one(tmp_path: Path, text: str) -> None:
    assert read_labelled(_file(tmp_path, [" a", text, "3", "2"]), TWO_TARGETS).texts == (text,)


def test_shows_the_first_bad_rows_and_counts_the_rest(tmp_path: Path) -> None:
    rows = [[f"id{row}", "t", "9" if row % 2 else "3", "2"] for row in range(1, 11)]
    assert (
        "row 1 (text_id 'id1') has '9'; row 3 (text_id 'id3') has '9'; row 5 (text_id 'id5') has '9'; "
        "and 2 more." in _refused(_file(tmp_path, *rows))
    )


def test_refuses_missing_columns(tmp_path: Path) -> None:
    path = _file(tmp_path, GOOD_ROW, header=["text_id", "text", "Syntax", "grammar"])
    message = _refused(path)
    assert "lacks 'full_text' (nearest: 'text'), 'syntax' (nearest: 'Syntax')" in message
    assert "set data.id_column, data.text_column and data.targets" in message


def test_essay_text_never_gets_into_a_message(tmp_path: Path) -> None:
    essay = "My address is a secret that I tell nobody."
    path = _file(tmp_path, ["a", essay, "3", essay], ["a", essay, "3", "2"])
    swapped = DataConfig(id_column="full_text", text_column="text_id", targets=["grammar"])
    for data in (TWO_TARGETS, swapped, DataConfig(targets=["full_text"], text_column="grammar")):
        assert "secret" not in _refused(path, data)


def test_the_score_range_is_the_config_s(tmp_path: Path) -> None:
    path = _file(tmp_path, ["a", "t", "0", "60"])
    essays = read_labelled(path, DataConfig(targets=["syntax", "grammar"], min_score=0.0, max_score=60.0))
    assert essays.labels_NC is not None and essays.labels_NC.tolist() == [[0, 60]]


def test_reads_unlabelled_essays(tmp_path: Path) -> None:
    path = _file(tmp_path, ["a", "One."], ["b", "Two."], header=["text_id", "full_text"])
    essays = read_unlabelled(path, DataConfig())
    assert (essays.ids, essays.texts, essays.labels_NC) == (("a", "b"), ("One.", "Two."), None)


@pytest.mark.parametrize(
    ("header", "cells"),
    [
        (HEADER, ["3", "2"]),  # a train file of the same task
        (HEADER, ["", "99"]),  # whose labels do not matter
        ([*HEADER, "score"], ["3", "2", "4"]),
        (["text_id", "full_text", "prompt", "grade"], ["school", "8th"]),
        (["text_id", "full_text", "score"], [""]),  # nothing filled in
        (["text_id", "full_text", "Unnamed: 0", "", "prompt_id"], ["0", "0", "3"]),
        (["text_id", "full_text", "syntax"], ["3"]),
    ],
)
def test_other_columns_that_a_test_file_may_have(tmp_path: Path, header: list[str], cells: list[str]) -> None:
    essays = read_unlabelled(_file(tmp_path, ["a", "One.", *cells], header=header), TWO_TARGETS)
    assert (essays.texts, essays.labels_NC) == (("One.",), None)


def test_refuses_the_train_file_of_another_task(tmp_path: Path) -> None:
    header = ["text_id", "full_text", "prompt", "score", "syntax", "overall"]
    path = _file(tmp_path, ["a", "t", "p", "6", "3", ""], ["b", "t", "2", "1", "2", "4.5"], header=header)
    with pytest.raises(UserError) as error:
        read_unlabelled(path, TWO_TARGETS)
    assert str(error.value) == (
        f"{path}: a file of essays to score may hold the targets syntax, grammar but no other scores, and "
        "this looks like a labelled file of another task: it has numbers in 'score', 'overall', which are "
        "neither id, text nor target. Give another file; or remove those columns, if they are no scores."
    )


def test_unlabelled_rows_are_checked_too(tmp_path: Path) -> None:
    path = _file(tmp_path, ["a", "t"], ["a", ""], header=["text_id", "full_text"])
    with pytest.raises(UserError, match=r"row 2 \(text_id 'a'\) repeats the id of row 1"):
        read_unlabelled(path, DataConfig())
    path = _file(tmp_path, ["a", "t"], header=["text_id", "essay"])
    with pytest.raises(UserError, match="lacks 'full_text'"):
        read_unlabelled(path, DataConfig())


def test_advice_about_a_models_columns_is_what_its_user_can_do(tmp_path: Path) -> None:
    path = _file(tmp_path, ["a", "t", "9", "2"], header=["text_id", "essay", "syntax", "grammar"])
    rename = r"Rename the file's columns to these: a model reads those that it was trained on\.$"
    with pytest.raises(UserError, match=rename):
        read_unlabelled(path, TWO_TARGETS)
    with pytest.raises(UserError, match=rename):
        read_labelled(path, TWO_TARGETS, of_model=True)
    with pytest.raises(UserError, match=r"has '9'\. Correct them, or remove the rows; a model scores in the range of"):
        read_labelled(_file(tmp_path, ["a", "t", "9", "2"]), TWO_TARGETS, of_model=True)


def test_enough_essays_for_the_folds() -> None:
    essays = _essays(["a", "b", "c"], ["x", "y", "z"], [[1], [2], [3]])
    check_enough_for_folds(essays, Path("train.csv"), 3)
    with pytest.raises(UserError, match=r"^train\.csv: .* but the file has 3 for 4 folds"):
        check_enough_for_folds(essays, Path("train.csv"), 4)


_ids = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).filter(str.strip)


@given(st.dictionaries(_ids, st.floats(1, 5, width=32), min_size=1, max_size=5))
def test_written_scores_read_back_exactly(
    tmp_path_factory: pytest.TempPathFactory, score_of_id: dict[str, float]
) -> None:
    path = tmp_path_factory.mktemp("scores") / "submission.csv"
    data = DataConfig()
    scores_NC = np.array([[score] * 6 for score in score_of_id.values()], dtype=np.float32)
    write_scores(path, list(score_of_id), scores_NC, data)
    frame = pd.read_csv(path, dtype={"text_id": str}, keep_default_na=False)
    assert list(frame.columns) == ["text_id", *FB3_TARGETS]
    assert frame["text_id"].tolist() == list(score_of_id)
    np.testing.assert_array_equal(frame[data.targets].to_numpy(np.float32), scores_NC)


def test_written_scores_are_short_and_in_the_order_of_the_targets(tmp_path: Path) -> None:
    path = tmp_path / "submission.csv"
    write_scores(path, ["007", "b"], np.array([[3.4, 2], [1, 4.75]], dtype=np.float32), TWO_TARGETS)
    assert path.read_text() == "text_id,syntax,grammar\n007,3.4,2.0\nb,1.0,4.75\n"
    with pytest.raises(UserError, match="must exist, but it does not"):
        write_scores(tmp_path / "none" / "s.csv", ["a"], np.ones((1, 2)), TWO_TARGETS)
