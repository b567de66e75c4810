"""Pseudo-labels: soft scores of an earlier model for essays that nobody scored, without a leak into the validation.

A fold's score is honest only if nothing that its essays' labels say has reached the model that is scored on it. A mean
of all members has seen every label, and hands it on: FB3's 3rd place saw its cross-validated score fall by .010 like
that, and its leaderboard score by nothing. So the labels for fold k come only from members that were trained without
fold k (FB3's 1st and 2nd place), and these folds must be the very folds of the run.
"""

import hashlib
import json
import multiprocessing
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ell_tune.errors import UserError
from ell_tune.essays.csv_table import read_csv, to_csv
from ell_tune.essays.data import DataConfig, Essays, read_unlabelled
from ell_tune.essays.folds import Folds, load_folds
from ell_tune.files.atomic import write_whole
from ell_tune.models.model_folder import Model, load_model, mean_scores


@dataclass(frozen=True)
class PseudoRequest:
    """What the user asked for: essays without scores, and the model that scores them."""

    unlabelled_path: Path
    model_dir: Path


def pseudo_request(unlabelled_path: Path | None, model_dir: Path | None) -> PseudoRequest | None:
    """The request of the two options together, or None without them.

    Raises:
        UserError: one without the other.
    """
    if unlabelled_path is not None and model_dir is not None:
        return PseudoRequest(unlabelled_path, model_dir)
    if unlabelled_path is None and model_dir is None:
        return None
    given, missing, what = (
        ("--pseudo-model", "--pseudo UNLABELLED.csv", "essays to label")
        if unlabelled_path is None
        else ("--pseudo", "--pseudo-model MODEL_DIR", "a model that labels the essays")
    )
    raise UserError(f"{given}: pseudo-labels need {what} too, but {missing} is missing. Give both options, or neither.")


@dataclass(frozen=True)
class PseudoEssays:
    """P essays without scores, none of them a training essay, and a model that may label them for some folds."""

    essays: Essays
    num_dropped: int  # of the user's file: they are training essays too
    folds: tuple[int, ...]  # that need labels
    model_dir: Path
    model: Model
    data: DataConfig  # of the run

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256, in hex, of all that the labels follow from."""
        members = [asdict(member) for member in self.model.members]
        score_range = [self.data.min_score, self.data.max_score]
        identity = json.dumps([self.essays.fingerprint, members, self.folds, score_range], sort_keys=True)
        return hashlib.sha256(identity.encode()).hexdigest()

    @property
    def provenance(self) -> dict[str, Any]:
        """What a result remembers of its pseudo-labels."""
        return {"sha256": self.fingerprint, "essays": len(self.essays), "members": len(self.model.members)}

    def labels(self, folder: Path) -> dict[int, NDArray[np.float32]]:
        """The labels [P, C] for each fold, from `folder`, where the first call leaves them: `pseudo-HASH.csv`.

        The file has ids, folds and scores, and no text. An interrupted run that goes on finds its labels there.

        Raises:
            UserError: the file cannot be written.
        """
        path = folder / f"pseudo-{self.fingerprint[:12]}.csv"
        if not path.exists():
            scores_KPC = np.clip(self._predict(), self.data.min_score, self.data.max_score).astype(np.float32)
            rows = (
                [id_, str(fold), *map(str, scores)]
                for fold, scores_PC in zip(self.folds, scores_KPC, strict=True)
                for id_, scores in zip(self.essays.ids, scores_PC, strict=True)
            )
            write_whole(path, to_csv(["id", "fold", *self.data.targets], rows))
        # Read also by the run that wrote it: what goes on has the same bits.
        scores = np.array([row[2:] for row in read_csv(path).rows], dtype=np.float32)
        return dict(zip(self.folds, np.split(scores, len(self.folds)), strict=True))

    def _predict(self) -> NDArray[np.float64]:
        # In a process of its own, which gives the GPU back before the first job asks for it.
        with ProcessPoolExecutor(max_workers=1, mp_context=multiprocessing.get_context("spawn")) as pool:
            return pool.submit(fold_scores, self.model_dir, self.model, self.folds, list(self.essays.texts)).result()


def fold_scores(model_dir: Path, model: Model, folds: Sequence[int], texts: list[str]) -> NDArray[np.float64]:
    """For each fold the mean of the members that were trained without it: [num_folds, num_essays, num_targets]."""
    return np.stack(
        [
            mean_scores(model_dir, [member for member in model.members if member.fold == fold], model.data, texts)
            for fold in folds
        ]
    )


def check_pseudo(
    request: PseudoRequest, train: Essays, run_folds: Folds, data: DataConfig, folds: Sequence[int]
) -> PseudoEssays:
    """Reads the essays and the model, and makes sure that the model's labels leak into none of `folds`.

    Essays are read in the columns that the model was trained with. One that is a training essay too (the same id, or
    the same text but for white space) is dropped: members of other folds know its true labels.

    Args:
        request: what the user gave.
        train: the run's labelled essays.
        run_folds: the run's folds.
        data: the run's columns and score range.
        folds: the folds that the run trains without.

    Raises:
        UserError: something is wrong with the essays or the model, the model is of other essays or folds or not of all
            folds, or no essay is left.
    """
    model = load_model(request.model_dir)
    _check_same_folds(request.model_dir, model, train, run_folds)
    _check_has_members(request.model_dir, model, folds)
    unlabelled = read_unlabelled(request.unlabelled_path, model.data)
    kept = _without(train, unlabelled)
    if len(kept) == 0:
        raise UserError(
            f"{request.unlabelled_path}: pseudo-labels need essays that are no training essays, but all "
            f"{len(unlabelled)} have the id or the text of one. Give others, or leave out --pseudo and --pseudo-model."
        )
    return PseudoEssays(kept, len(unlabelled) - len(kept), tuple(folds), request.model_dir, model, data)


def check_same_pseudo(remembered: Mapping[str, Any] | None, pseudo: PseudoEssays | None, study_dir: Path) -> None:
    """Makes sure that a study goes on with the pseudo-labels that it began with (`PseudoEssays.provenance`), or none.

    Raises:
        UserError: it would not.
    """
    before = None if remembered is None else remembered["sha256"]
    now = None if pseudo is None else pseudo.fingerprint
    if before == now:
        return
    if before is None:
        found, advice = "was begun without", "Leave out --pseudo and --pseudo-model"
    elif now is None:
        found, advice = "was begun with some", "Give the same --pseudo and --pseudo-model"
    else:
        found = f"was begun with others (sha256 {before[:12]}, not {now[:12]})"
        advice = "Give the first essays and the first model"
    raise UserError(
        f"--pseudo: a study goes on with the pseudo-labels that it began with, but {study_dir} {found}. "
        f"{advice}, or another --study."
    )


def _check_same_folds(model_dir: Path, model: Model, train: Essays, run_folds: Folds) -> None:
    rule = (
        f"{model_dir}: the model that makes pseudo-labels must have been trained on the essays and folds of this run, "
        f"or it hands on labels of the essays that this run is validated on;"
    )
    if model.provenance["data_sha256"] != train.fingerprint:
        raise UserError(
            f"{rule} but its essays are others (sha256 {model.provenance['data_sha256'][:12]}, not "
            f"{train.fingerprint[:12]}). Give the same --train as for that model, or first `ell-tune retrain` a model "
            f"on this one."
        )
    folds = load_folds(model_dir / "folds.csv", train)
    if folds.fingerprint != run_folds.fingerprint:
        raise UserError(
            f"{rule} but its {folds.num_folds} folds (seed {model.provenance['seed']}) are not the "
            f"{run_folds.num_folds} folds of this run. Give the same number of folds (--folds; study.num_folds in a "
            f"space file) and the same seed (`seed` in a config file, study.seed in a space file)."
        )


def _check_has_members(model_dir: Path, model: Model, folds: Sequence[int]) -> None:
    missing = sorted(set(folds) - {member.fold for member in model.members})
    if missing:
        raise UserError(
            f"{model_dir}: the model that makes pseudo-labels must have members trained without each fold of this run, "
            f"but it has none without fold {', '.join(map(str, missing))}: it is a search's own. First `ell-tune "
            f"retrain` a model on all folds."
        )


def _without(train: Essays, unlabelled: Essays) -> Essays:
    """The unlabelled essays that are no training essays."""
    known_ids, known_texts = set(train.ids), {_words(text) for text in train.texts}
    kept = [
        (id_, text)
        for id_, text in zip(unlabelled.ids, unlabelled.texts, strict=True)
        if id_ not in known_ids and _words(text) not in known_texts
    ]
    return Essays(tuple(id_ for id_, _ in kept), tuple(text for _, text in kept), None)


def _words(text: str) -> str:
    """The text with every run of white space as one space."""
    return " ".join(text.split())
