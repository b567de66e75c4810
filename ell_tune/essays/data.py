"""Essays and their scores: the CSV files that go in, and the predictions that come out."""

import hashlib
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from ell_tune.config import StrictConfig
from ell_tune.errors import UserError
from ell_tune.essays.csv_table import CsvTable, first_few, read_csv, shown, to_csv
from ell_tune.files.atomic import write_whole

FB3_TARGETS = ("cohesion", "syntax", "vocabulary", "phraseology", "grammar", "conventions")

# Numbers that need not be scores: a saved pandas index, and identifiers such as prompt_id.
_INDEX_OR_ID = re.compile(r"|unnamed: \d+|index|(.*_)?id", re.IGNORECASE)

# Spaces, controls, format characters such as the zero-width space, and marks, which need a letter to stand on.
_INVISIBLE_CATEGORIES = {"Cc", "Cf", "Mn", "Zl", "Zp", "Zs"}
# Letters and a symbol that Unicode defines as blank: Hangul fillers, and the Braille pattern without dots.
_BLANK_LETTERS = frozenset("\u115f\u1160\u2800\u3164\uffa0")

_RENAME = "Rename the file's columns to these: a model reads those that it was trained on."


class DataConfig(StrictConfig):
    """Which columns of the CSV files hold what, and the range of the scores. The defaults are FB3's."""

    id_column: str = Field(default="text_id", min_length=1, description="column with each essay's unique id")
    text_column: str = Field(default="full_text", min_length=1, description="column with the essays")
    targets: list[str] = Field(default=list(FB3_TARGETS), min_length=1, description="columns with scores, in order")
    min_score: float = Field(default=1.0, allow_inf_nan=False, description="lowest score of the rubric")
    max_score: float = Field(default=5.0, allow_inf_nan=False, description="highest score of the rubric")

    @model_validator(mode="after")
    def _check(self) -> "DataConfig":
        columns = [self.id_column, self.text_column, *self.targets]
        repeated = sorted({column for column in columns if columns.count(column) > 1})
        if repeated:
            raise ValueError(
                f"id_column, text_column and targets must name different columns, but "
                f"{', '.join(repeated)} is named more than once"
            )
        if not self.min_score < self.max_score:
            raise ValueError(
                f"min_score must be below max_score, but got min_score={self.min_score} and max_score={self.max_score}"
            )
        return self


# eq=False: comparing arrays with == gives an array; compare fingerprints instead.
@dataclass(frozen=True, eq=False)
class Essays:
    """N essays, and where they are labelled their scores for C targets."""

    ids: tuple[str, ...]
    texts: tuple[str, ...]  # line breaks are "\n"
    labels_NC: NDArray[np.float32] | None

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256, in hex, of the ids, texts and labels in their order: the same for the same content."""
        digest = hashlib.sha256()
        for cell in (*self.ids, *self.texts):
            encoded = cell.encode()
            digest.update(len(encoded).to_bytes(8, "little") + encoded)
        if self.labels_NC is not None:
            digest.update(repr(self.labels_NC.shape).encode())
            digest.update(self.labels_NC.astype("<f4").tobytes())
        return digest.hexdigest()


def read_labelled(path: Path, data: DataConfig, of_model: bool = False) -> Essays:
    """Reads essays with a score for every target; other columns are ignored.

    Args:
        of_model: `data` is that of a trained model, so that an error's advice is to change the file alone.

    Raises:
        UserError: the file cannot be read as CSV, lacks a column, or has a row without a unique id, a text
            or scores from `data.min_score` to `data.max_score`. The message names file, column and rows.
    """
    table = read_csv(path)
    table.require(
        [data.id_column, data.text_column, *data.targets],
        _RENAME if of_model else "Rename them in the file, or set data.id_column, data.text_column and data.targets.",
    )
    ids, texts = _read_ids_and_texts(table, data)
    advice = (
        "Correct them, or remove the rows; a model scores in the range of its training."
        if of_model
        else "Correct them, remove the rows, or set data.targets, data.min_score and data.max_score to what the file "
        "holds."
    )
    labels = [_read_target(table, target, ids, data, advice) for target in data.targets]
    return Essays(ids, texts, np.array(labels, dtype=np.float32).T.copy())


def read_unlabelled(path: Path, data: DataConfig) -> Essays:
    """Reads essays for a trained model to score; `data` is that of its training.

    Columns named as targets may be there, and are ignored.

    A file that lacks the targets but has other numeric columns is refused: it is most likely the train file
    of another task, and its predictions would be nonsense that looks sound.

    Raises:
        UserError: as `read_labelled`, except for the scores; or the file looks like another task's.
    """
    table = read_csv(path)
    table.require([data.id_column, data.text_column], _RENAME)
    _refuse_other_task(table, data)
    ids, texts = _read_ids_and_texts(table, data)
    return Essays(ids, texts, None)


def check_enough_for_folds(essays: Essays, path: Path, num_folds: int) -> None:
    """Raises UserError where there are fewer essays than folds, so that one would be empty."""
    if len(essays) < num_folds:
        raise UserError(
            f"{path}: each fold needs at least one essay, but the file has {len(essays)} for {num_folds} "
            f"folds. Give more essays, or ask for fewer folds (study.num_folds in a space file, --folds of retrain)."
        )


def write_scores(path: Path, ids: Sequence[str], scores_NC: NDArray[np.floating], data: DataConfig) -> None:
    """Writes a CSV file with the id column and one column per target, in the order of `data.targets`.

    Raises:
        UserError: the file cannot be written, for example because its directory does not exist.
    """
    assert scores_NC.shape == (len(ids), len(data.targets))
    # str() of a numpy float is the shortest text that reads back as the same number.
    rows = ([id_, *map(str, scores)] for id_, scores in zip(ids, scores_NC, strict=True))
    write_whole(path, to_csv([data.id_column, *data.targets], rows))


def _read_ids_and_texts(table: CsvTable, data: DataConfig) -> tuple[tuple[str, ...], tuple[str, ...]]:
    ids = table.column(data.id_column)
    empty_rows = [f"row {row}" for row, id_ in enumerate(ids, start=1) if _is_blank(id_)]
    if empty_rows:
        raise UserError(
            f"{table.path}: every essay needs an id, but the column {data.id_column!r} is empty in "
            f"{first_few(empty_rows)}. Fill them in, or remove the rows."
        )
    _refuse_repeated_ids(table.path, ids, data.id_column)
    texts = [text.replace("\r\n", "\n").replace("\r", "\n") for text in table.column(data.text_column)]
    empty_texts = {
        row: "has only invisible characters" if text.strip() else "is empty"
        for row, text in enumerate(texts, start=1)
        if _is_blank(text)
    }
    if empty_texts:
        raise UserError(
            f"{table.path}: every essay needs a text, but in the column {data.text_column!r} "
            f"{_rows_with_ids(empty_texts, ids, data)}. Fill them in, or remove the rows."
        )
    return tuple(ids), tuple(texts)


def _is_blank(cell: str) -> bool:
    """Whether nothing of the cell can be seen."""
    return all(unicodedata.category(char) in _INVISIBLE_CATEGORIES or char in _BLANK_LETTERS for char in cell)


def _refuse_repeated_ids(path: Path, ids: Sequence[str], id_column: str) -> None:
    first_row_of: dict[str, int] = {}
    repeated = []
    for row, id_ in enumerate(ids, start=1):
        first_row = first_row_of.setdefault(id_.strip(), row)
        if first_row != row:
            but = "" if ids[first_row - 1] == id_ else " but for the spaces around it"
            repeated.append(f"row {row} ({id_column} {shown(id_)}) repeats the id of row {first_row}{but}")
    if repeated:
        raise UserError(
            f"{path}: ids must be unique in the column {id_column!r}, but {first_few(repeated)}. Remove the "
            f"repeated essays (in two folds, they would flatter the score) or give them ids of their own."
        )


def _read_target(table: CsvTable, target: str, ids: Sequence[str], data: DataConfig, advice: str) -> list[float]:
    cells = table.column(target)
    complaints = {
        row: complaint
        for row, cell in enumerate(cells, start=1)
        if (complaint := _complaint_about_score(cell, data)) is not None
    }
    if complaints:
        raise UserError(
            f"{table.path}: a score must be a number from {data.min_score:g} to {data.max_score:g}, but in "
            f"the column {target!r} {_rows_with_ids(complaints, ids, data)}. {advice}"
        )
    return [float(cell) for cell in cells]


def _complaint_about_score(cell: str, data: DataConfig) -> str | None:
    if not cell.strip():
        return "is empty"
    value = _number(cell)
    if value is None:
        return f"has {shown(cell)}, which is not a number"
    # NaN compares false with everything, so it is no score either.
    return None if data.min_score <= value <= data.max_score else f"has {shown(cell)}"


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _rows_with_ids(complaint_of_row: Mapping[int, str], ids: Sequence[str], data: DataConfig) -> str:
    return first_few(
        [
            f"row {row} ({data.id_column} {shown(ids[row - 1])}) {complaint}"
            for row, complaint in complaint_of_row.items()
        ]
    )


def _refuse_other_task(table: CsvTable, data: DataConfig) -> None:
    if set(data.targets) <= set(table.columns):
        return
    known = {data.id_column, data.text_column, *data.targets}
    others = [name for name in table.columns if name not in known and not _INDEX_OR_ID.fullmatch(name)]
    numeric = [name for name in others if _is_numeric(table.column(name))]
    if numeric:
        raise UserError(
            f"{table.path}: a file of essays to score may hold the targets {', '.join(data.targets)} but no "
            f"other scores, and this looks like a labelled file of another task: it has numbers in "
            f"{', '.join(map(shown, numeric))}, which are neither id, text nor target. Give another file; or "
            f"remove those columns, if they are no scores."
        )


def _is_numeric(cells: Sequence[str]) -> bool:
    """Whether the cells that are filled in are all finite numbers, and there is at least one."""
    values = [_number(cell) for cell in cells if cell.strip()]
    return bool(values) and all(value is not None and math.isfinite(value) for value in values)
