"""CSV files as tables: what is read back, what is refused, and that nothing is ever half-written."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ell_tune.errors import UserError
from ell_tune.essays.csv_table import first_few, read_csv, shown, to_csv
from ell_tune.files.atomic import write_whole

# Surrogates cannot be written as UTF-8, and csv readers treat a lone "\r" as a line break.
_cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"))
_tables = st.integers(2, 4).flatmap(
    lambda width: st.lists(st.lists(_cells, min_size=width, max_size=width), min_size=2, max_size=6)
)


@given(_tables)
def test_reads_back_what_it_wrote(tmp_path_factory: pytest.TempPathFactory, records: list[list[str]]) -> None:
    header, *rows = records
    if header[0].startswith("\ufeff"):
        header[0] = "id"  # at the start of a file it is a byte order mark
    path = tmp_path_factory.mktemp("csv") / "table.csv"
    write_whole(path, to_csv(header, rows))
    table = read_csv(path)
    assert table.columns == tuple(header)
    assert table.rows == rows


def test_cells_stay_text_and_blank_lines_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(b'\xef\xbb\xbfid,text\r\n007,NA\r\n\r\n1E5,"one\n\ntwo, ""three"""\r\n\r\n')
    table = read_csv(path)
    assert table.columns == ("id", "text")
    assert table.rows == [["007", "NA"], ["1E5", 'one\n\ntwo, "three"']]
    assert table.column("text") == ["NA", 'one\n\ntwo, "three"']


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"one row per essay are needed, but the file is empty\. Give one with essays\.$"),
        (b"\n\n", "the file is empty"),
        (b"id,text\n", r"the file has only a header\. Add the essays\.$"),
        (b"id,text\na,b\nc\nd,e,f\n", "the header, which has 2, but row 2 has 1; row 3 has 3. Put cells"),
        (b"id,text\na,b\nc,\xe9t\xe9\n", r"UTF-8, but byte 14 \(0xe9, on line 3\) is not"),
        (b"\xef\xbb\xbfid\n\xff\n", r"UTF-8, but byte 6 \(0xff, on line 2\) is not"),
        ("id,text\n".encode("utf-16"), r"UTF-8, but byte 0 \(0xff, on line 1\) is not"),
        (
            b'id,text\na,"x\ny"\nc,"no end\nd,e\n',
            "row 2, which starts on line 4, cannot be read: unexpected end",
        ),
        (b'id,"te"xt\na,b\n', "the header, which starts on line 1, cannot be read"),
    ],
)
def test_refuses_what_is_not_csv(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        read_csv(path)
    assert str(error.value).startswith(f"{path}: ")


def test_refuses_what_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no such file"):
        read_csv(tmp_path / "none.csv")
    with pytest.raises(UserError, match="this is a directory"):
        read_csv(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be read: Not a directory"):
        read_csv(tmp_path / "file" / "train.csv")


def _table(tmp_path: Path, header: str) -> Path:
    path = tmp_path / "table.csv"
    path.write_text(header + "\n" + header.replace("e", "x") + "\n")
    return path


def test_names_the_nearest_column(tmp_path: Path) -> None:
    table = read_csv(_table(tmp_path, "TEXT_ID,fulltext,cohesion"))
    table.require(["cohesion"], "")
    with pytest.raises(UserError) as error:
        table.require(["text_id", "full_text", "cohesion", "zz"], "Rename them.")
    assert str(error.value) == (
        f"{table.path}: the columns text_id, full_text, cohesion, zz are needed (spelled exactly so), but "
        "the file lacks 'text_id' (nearest: 'TEXT_ID'), 'full_text' (nearest: 'fulltext'), 'zz'. "
        "Its header has: 'TEXT_ID', 'fulltext', 'cohesion'. Rename them."
    )


def test_never_proposes_a_column_that_is_asked_for_itself(tmp_path: Path) -> None:
    table = read_csv(_table(tmp_path, "cohesion,convention"))
    with pytest.raises(UserError, match=r"lacks 'conventions' \(nearest: 'convention'\)\. Its header"):
        table.require(["cohesion", "conventions"], "")
    table = read_csv(_table(tmp_path, "cohesion,text"))
    with pytest.raises(UserError, match=r"lacks 'conventions'\. Its header"):
        table.require(["cohesion", "conventions"], "")


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("id;text\na;b\n", "semicolons"),
        ("id;text;grammar\na;Well, I think, yes;3\n", "semicolons"),  # ragged, were it read with commas
        ('\n"id";"text"\r\n"a";"b"\r\n', "semicolons"),  # and here its quotes would be misplaced
        ("id\ttext\na\tb, c\n", "tabs"),
    ],
)
def test_recognises_another_separator(tmp_path: Path, content: str, found: str) -> None:
    path = tmp_path / "table.csv"
    path.write_text(content, newline="")
    with pytest.raises(UserError) as error:
        read_csv(path)
    assert str(error.value).startswith(
        f"{path}: columns must be separated by commas, but the header has no comma, and {found} instead. Save the file"
    )


def test_semicolons_and_tabs_in_cells_separate_nothing(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text('"id;\nof it",text\na;b,c\td\n')
    assert read_csv(path).rows == [["a;b", "c\td"]]


def test_refuses_an_ambiguous_column(tmp_path: Path) -> None:
    table = read_csv(_table(tmp_path, "id,score,score,note,note"))
    table.require(["id"], "")
    with pytest.raises(UserError, match="the header has 'score' 2 times"):
        table.require(["id", "score"], "")


def test_a_header_that_is_an_essay_is_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "no_header.csv"
    path.write_text('A1,"I think that my secret is safe here",3.0\nA2,"More text",2.0\n')
    with pytest.raises(UserError, match=r"Its header has: 'A1', \(35 characters\), '3.0'") as error:
        read_csv(path).require(["text_id"], "")
    assert "secret" not in str(error.value)


def test_shown_and_first_few() -> None:
    assert shown("0016926B079C") == "'0016926B079C'"
    assert shown("a b c d") == "'a b c d'"
    assert shown("a b c d e") == "(9 characters)"
    assert shown("x" * 41) == "(41 characters)"
    assert first_few(["a"]) == "a"
    assert first_few(["a", "b", "c"]) == "a; b; c"
    assert first_few(["a", "b", "c", "d", "e"]) == "a; b; c; and 2 more"
