"""`ell-tune predict` and `ell-tune score`: a model folder on a CSV of essays."""

import csv
from dataclasses import dataclass
from pathlib import Path

from ell_tune.errors import UserError
from ell_tune.essays.data import read_labelled, read_unlabelled, write_scores
from ell_tune.essays.metrics import mcrmse, rmse_per_target
from ell_tune.files.atomic import check_can_write
from ell_tune.models.model_folder import load_model, predict


def predict_file(model_dir: Path, test_path: Path, out: Path) -> int:
    """Scores the essays of a CSV into another, in the same order, and says how many.

    Raises:
        UserError: something wrong with the model folder, the essays or the place to write to.
    """
    check_can_write(out)
    if out.exists() and test_path.exists() and out.samefile(test_path):
        raise UserError(
            f"--out {out}: the scores need a file of their own, but this one holds the essays. Name another."
        )
    model = load_model(model_dir)
    essays = read_unlabelled(test_path, model.data)
    write_scores(out, essays.ids, predict(model_dir, model, list(essays.texts)), model.data)
    return len(essays)


@dataclass(frozen=True)
class Scored:
    """How a model's scores compare with known ones."""

    mcrmse: float
    rmse: dict[str, float]  # target → RMSE
    num_essays: int
    num_seen: int  # essays that the model was trained on
    oof_score: float | None  # the model's cross-validated score, if it has one


def score_file(model_dir: Path, labelled_path: Path) -> Scored:
    """Scores the essays of a labelled CSV and compares.

    Raises:
        UserError: something wrong with the model folder or the essays.
    """
    model = load_model(model_dir)
    essays = read_labelled(labelled_path, model.data, of_model=True)
    assert essays.labels_NC is not None
    scores_NC = predict(model_dir, model, list(essays.texts))
    with open(model_dir / "folds.csv", encoding="utf-8", newline="") as file:
        seen = {row[0] for row in csv.reader(file)}
    rmse_C = rmse_per_target(essays.labels_NC, scores_NC)
    return Scored(
        mcrmse=mcrmse(essays.labels_NC, scores_NC),
        rmse={target: float(rmse) for target, rmse in zip(model.data.targets, rmse_C, strict=True)},
        num_essays=len(essays),
        num_seen=len(seen.intersection(essays.ids)),
        oof_score=None if model.cv is None else model.cv["score"],
    )
