"""Folds: the split of the essays on which every trial is validated."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ell_tune.errors import UserError
from ell_tune.essays.csv_table import CsvTable, first_few, read_csv, shown, to_csv
from ell_tune.essays.data import Essays
from ell_tune.files.atomic import write_whole

_MAX_LEVELS = 12  # a target with more distinct scores is taken for continuous
_NUM_QUANTILE_BINS = 5
_FOLD_NUMBER = re.compile("[0-9]{1,4}")


# eq=False: comparing arrays with == gives an array; compare fingerprints instead.
@dataclass(frozen=True, eq=False)
class Folds:
    """A partition of N essays into folds 0 … num_folds - 1, none of them empty."""

    fold_of_N: NDArray[np.int64]
    num_folds: int
    fingerprint: str  # SHA-256, in hex, of the (id, fold) pairs; the same for the same partition

    def valid_rows(self, fold: int) -> NDArray[np.int64]:
        """The rows of the essays in the fold, ascending."""
        return np.flatnonzero(self.fold_of_N == fold)

    def train_rows(self, fold: int) -> NDArray[np.int64]:
        """The rows of the essays outside the fold, ascending."""
        return np.flatnonzero(self.fold_of_N != fold)


def make_folds(essays: Essays, num_folds: int, seed: int) -> Folds:
    """Splits labelled essays so that every fold has about the same distribution of every target's scores.

    Iterative stratification (Sechidis et al. 2011) over one column per target and score level. The levels
    matter: `MultilabelStratifiedKFold` casts labels to bool, so raw scores from 1 to 5 are all True to it and
    it stratifies nothing. The same essays, number of folds and seed always give the same folds.
    """
    # It brings scikit-learn, over a second, which a trial's process, given its folds, would wait for.
    from iterstrat.ml_stratifiers import MultilabelStratifiedKFold

    assert essays.labels_NC is not None and 2 <= num_folds <= len(essays)
    levels = np.hstack([_one_hot_levels(labels_N) for labels_N in essays.labels_NC.T])
    # No fold stays empty: the splitter gives a score level to the fold that lacks most of it, and among
    # equals to the smallest, so an empty fold always comes first.
    splitter = MultilabelStratifiedKFold(n_splits=num_folds, shuffle=True, random_state=seed)
    fold_of_N = np.empty(len(essays), dtype=np.int64)
    for fold, (_, valid_rows) in enumerate(splitter.split(levels, levels)):
        fold_of_N[valid_rows] = fold
    return Folds(fold_of_N, num_folds, _fingerprint(essays.ids, fold_of_N))


def save_folds(path: Path, essays: Essays, folds: Folds) -> None:
    """Writes a CSV file with the columns `id` and `fold`, in the essays' order.

    Raises:
        UserError: the file cannot be written.
    """
    rows = ((id_, str(fold)) for id_, fold in zip(essays.ids, folds.fold_of_N, strict=True))
    write_whole(path, to_csv(["id", "fold"], rows))


def load_folds(path: Path, essays: Essays) -> Folds:
    """Reads what `save_folds` wrote, or a user's own file of that form, whose rows may be in any order.

    Raises:
        UserError: the file is not of that form, its ids are not those of the essays, or a fold is missing.
    """
    table = read_csv(path)
    table.require(["id", "fold"], "Name them so.")
    fold_of_id = _read_folds(table)
    _check_same_ids(path, fold_of_id, essays)
    present = sorted(set(fold_of_id.values()))
    if len(present) < 2 or present != list(range(len(present))):
        raise UserError(
            f"{path}: the column 'fold' must number at least two folds 0, 1, 2, … without a gap, but it has "
            f"{', '.join(map(str, present))}. Number them anew."
        )
    fold_of_N = np.array([fold_of_id[id_] for id_ in essays.ids], dtype=np.int64)
    return Folds(fold_of_N, len(present), _fingerprint(essays.ids, fold_of_N))


def _one_hot_levels(labels_N: NDArray[np.float32]) -> NDArray[np.bool_]:
    """One column per score level: each distinct score, or quantile bins where there are many."""
    distinct, level_of_N = np.unique(labels_N, return_inverse=True)
    if len(distinct) > _MAX_LEVELS:
        inner_edges = np.quantile(labels_N, np.linspace(0, 1, _NUM_QUANTILE_BINS + 1)[1:-1])
        level_of_N = np.searchsorted(inner_edges, labels_N, side="right")
    # At least two columns: the splitter refuses a single one, which one target with one score would give.
    num_levels = max(2, level_of_N.max() + 1)
    one_hot: NDArray[np.bool_] = level_of_N[:, None] == np.arange(num_levels)
    return one_hot


def _fingerprint(ids: Sequence[str], fold_of_N: NDArray[np.int64]) -> str:
    # Sorted by id: the partition is what counts, not the order of the essays.
    pairs = sorted(zip(ids, fold_of_N.tolist(), strict=True))
    return hashlib.sha256(repr(pairs).encode()).hexdigest()


def _read_folds(table: CsvTable) -> dict[str, int]:
    fold_of_id: dict[str, int] = {}
    problems = []
    for row, (id_, fold) in enumerate(zip(table.column("id"), table.column("fold"), strict=True), start=1):
        if not _FOLD_NUMBER.fullmatch(fold):
            problems.append(f"row {row} (id {shown(id_)}) has {shown(fold)}")
        elif id_ in fold_of_id:
            problems.append(f"row {row} repeats the id {shown(id_)}")
        else:
            fold_of_id[id_] = int(fold)
    if problems:
        raise UserError(
            f"{table.path}: each essay's id must stand in one row with a whole number 0, 1, 2, … in the "
            f"column 'fold', but {first_few(problems)}. Correct the rows."
        )
    return fold_of_id


def _check_same_ids(path: Path, fold_of_id: dict[str, int], essays: Essays) -> None:
    known_ids = set(essays.ids)
    without_fold = [shown(id_) for id_ in essays.ids if id_ not in fold_of_id]
    without_essay = [shown(id_) for id_ in fold_of_id if id_ not in known_ids]
    differences = []
    if without_fold:
        differences.append(f"{len(without_fold)} of {len(essays)} essays have no fold ({first_few(without_fold)})")
    if without_essay:
        differences.append(f"{len(without_essay)} ids in it are no essays ({first_few(without_essay)})")
    if differences:
        raise UserError(
            f"{path}: the folds must be those of the essays given, but {' and '.join(differences)}. Give the "
            f"essays that the folds were made for, or other folds."
        )
