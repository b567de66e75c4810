"""CSV files as tables of strings: read with errors that a user can act on, written whole or not at all."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from ell_tune.errors import UserError

_NUM_ROWS_SHOWN = 3


@dataclass(frozen=True)
class CsvTable:
    """The records of a CSV file, every cell as the text that stands in the file."""

    path: Path
    columns: tuple[str, ...]
    rows: list[list[str]]  # at least one; each as long as `columns`

    def column(self, name: str) -> list[str]:
        """The cells of one column, in the order of the rows."""
        index = self.columns.index(name)
        return [row[index] for row in self.rows]

    def require(self, names: Sequence[str], advice: str) -> None:
        """Raises UserError unless each of these columns is there exactly once; it names the nearest of the others."""
        missing = [name for name in names if name not in self.columns]
        if missing:
            spare = [column for column in self.columns if column not in names]
            lacks = ", ".join(f"{name!r}{_nearest(name, spare)}" for name in missing)
            raise UserError(
                f"{self.path}: the columns {', '.join(names)} are needed (spelled exactly so), but the file "
                f"lacks {lacks}. Its header has: {', '.join(map(shown, self.columns))}. {advice}"
            )
        repeated = [name for name in names if self.columns.count(name) > 1]
        if repeated:
            raise UserError(
                f"{self.path}: each column's name must be unique, but the header has {repeated[0]!r} "
                f"{self.columns.count(repeated[0])} times. Rename or remove the columns that are not meant."
            )


def _nearest(name: str, columns: Sequence[str]) -> str:
    by_folded_name = {column.casefold(): column for column in columns}
    nearest = get_close_matches(name.casefold(), by_folded_name, n=1)
    return f" (nearest: {by_folded_name[nearest[0]]!r})" if nearest else ""


def shown(cell: str) -> str:
    """A cell as an error message may show it: what could be an essay's text is replaced by its length."""
    return repr(cell) if len(cell) <= 40 and len(cell.split()) <= 4 else f"({len(cell)} characters)"


def first_few(findings: Sequence[str]) -> str:
    """Joins the first three findings and says how many more there are."""
    more = len(findings) - _NUM_ROWS_SHOWN
    return "; ".join(findings[:_NUM_ROWS_SHOWN]) + (f"; and {more} more" if more > 0 else "")


def read_csv(path: Path) -> CsvTable:
    """Reads a comma-separated UTF-8 file, with or without a byte order mark, that starts with a header.

    Cells stay text: "007", "1E5" and "NA" are what they are. Newlines inside quotes are kept. Blank lines
    between records are skipped.

    Raises:
        UserError: there is no such file, or it is not CSV, not UTF-8, empty, separated by something else than
            commas, or its rows differ in length.
    """
    text = _read_text(path)
    _refuse_other_separator(path, text)
    records = _parse(path, text)
    if not records:
        raise UserError(
            f"{path}: a header and one row per essay are needed, but the file is empty. Give one with essays."
        )
    header, *rows = records
    if not rows:
        raise UserError(f"{path}: one row per essay is needed, but the file has only a header. Add the essays.")
    ragged = [f"row {row} has {len(cells)}" for row, cells in enumerate(rows, start=1) if len(cells) != len(header)]
    if ragged:
        raise UserError(
            f"{path}: every row must have as many cells as the header, which has {len(header)}, but "
            f"{first_few(ragged)}. Put cells with commas or line breaks between double quotes."
        )
    return CsvTable(path, tuple(header), rows)


def _refuse_other_separator(path: Path, text: str) -> None:
    """Tells a header without commas for what it is, before its rows look ragged or their quotes misplaced."""
    header = text.lstrip("\r\n").partition("\n")[0]
    goes_on_in_the_next_line = header.count('"') % 2 == 1
    if "," in header or goes_on_in_the_next_line:
        return
    for separator, name in ((";", "semicolons"), ("\t", "tabs")):
        if separator in header:
            raise UserError(
                f"{path}: columns must be separated by commas, but the header has no comma, and {name} instead. Save "
                f"the file as CSV with commas (a spreadsheet asks for the separator on export)."
            )


def _parse(path: Path, text: str) -> list[list[str]]:
    """All records but blank lines; record 0 is the header."""
    records: list[list[str]] = []
    # strict: an unclosed quote would otherwise swallow the rest of the file into one essay.
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    first_line = 1
    try:
        for record in reader:
            first_line = reader.line_num + 1
            if record:
                records.append(record)
    except csv.Error as error:
        where = f"row {len(records)}" if records else "the header"
        raise UserError(
            f"{path}: the file must be comma-separated values, but {where}, which starts on line "
            f"{first_line}, cannot be read: {error}. Put cells with commas, quotes or line breaks between "
            f'double quotes, and write a quote inside a cell as "".'
        ) from None
    return records


def _read_text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file. Give the path of a CSV file.") from None
    except IsADirectoryError:
        raise UserError(f"{path}: a CSV file is needed, but this is a directory. Name the file in it.") from None
    except OSError as error:
        raise UserError(f"{path}: the file cannot be read: {error.strerror}.") from None
    try:
        return content.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}: the file must be CSV text in UTF-8, but byte {error.start} "
            f"(0x{content[error.start]:02x}, on line {line}) is not. Save it as "
            f"'CSV UTF-8'; unpack it first if it is compressed."
        ) from None


def to_csv(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """The text of a CSV file with these columns; `read_csv` gives the same cells back."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return buffer.getvalue()
