"""A model folder: the members that `ell-tune retrain` trained, and how well they did out of fold.

model.json              members, columns, cross-validated score; the SHA-256 of every member's files, because a copy
                        that lacks one may predict confident nonsense; written last, so a folder with it is whole
folds.csv               which essay was out of which fold
oof.csv                 out-of-fold predictions, averaged over the configs, keyed by the essay's id; not of a search's
                        own members (`ell_tune.studies.kept_model`), which know one fold only
members/NAME/weights/   what the trainable's `predict` needs
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ell_tune.errors import UserError, first_line
from ell_tune.essays.data import DataConfig
from ell_tune.files.atomic import write_whole
from ell_tune.trainable import load_trainable

_FORMAT = 2


@dataclass(frozen=True)
class Member:
    """One config trained without one fold."""

    name: str
    config_name: str  # the file that the config came from
    trainable: str
    fold: int
    score: float  # MCRMSE on its own fold


@dataclass(frozen=True)
class Model:
    """What `model.json` holds."""

    data: DataConfig
    members: tuple[Member, ...]
    cv: dict[str, Any] | None  # see `ell_tune.runs.retrain`; None where the members are a search's own, on one fold
    provenance: dict[str, Any]


def save_model(model_dir: Path, model: Model) -> None:
    """Writes `model.json`, and with it completes the folder, in which every member's weights are."""
    files = [
        path
        for member in model.members
        for path in sorted(_weights_dir(model_dir, member).rglob("*"))
        if path.is_file()
    ]
    content = {
        "format": _FORMAT,
        "data": model.data.model_dump(),
        "members": [asdict(member) for member in model.members],
        "cv": model.cv,
        "provenance": model.provenance,
        "sha256": {str(path.relative_to(model_dir)): _sha256(path) for path in files},
    }
    write_whole(model_dir / "model.json", json.dumps(content, indent=1))


def load_model(model_dir: Path) -> Model:
    """Reads `model.json`, and makes sure that the members are as they were when it was written.

    Raises:
        UserError: no model folder, an unfinished or damaged one, or one of another format.
    """
    path = model_dir / "model.json"
    if not path.is_file():
        raise UserError(
            f"{model_dir}: a model folder is needed, as `ell-tune retrain ... --out MODEL_DIR` makes it, but "
            f"{_what_is_there(model_dir)}."
        )
    try:
        model, sha256_of = _read(path)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: a file that ell-tune wrote is needed, but this one is damaged or another's "
            f"({type(error).__name__}: {first_line(error)}). Give another folder, or retrain into it again."
        ) from None
    for name, sha256 in sha256_of.items():
        file = model_dir / name
        if not file.is_file() or _sha256(file) != sha256:
            found = "has changed" if file.is_file() else "is not there"
            raise UserError(
                f"{file}: a model predicts with the files that its training wrote, but this one {found}. Copy the "
                f"whole folder again, or retrain into another."
            )
    return model


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _what_is_there(model_dir: Path) -> str:
    if not model_dir.is_dir():
        return "this is a file" if model_dir.exists() else "there is no such folder"
    if (model_dir / "members").is_dir():
        return "its retraining has not finished: run the same `ell-tune retrain` again, it goes on"
    return "there is no model.json in it"


def _read(path: Path) -> tuple[Model, dict[str, str]]:
    content = json.loads(path.read_text(encoding="utf-8"))
    if content["format"] != _FORMAT:
        raise UserError(
            f"{path}: this ell-tune reads model folders of format {_FORMAT}, but this one has {content['format']!r}. "
            f"Use ell-tune {content['provenance']['ell_tune']}, which made it."
        )
    model = Model(
        data=DataConfig(**content["data"]),
        members=tuple(Member(**member) for member in content["members"]),
        cv=content["cv"],
        provenance=content["provenance"],
    )
    return model, dict(content["sha256"])


def _weights_dir(model_dir: Path, member: Member) -> Path:
    return model_dir / "members" / member.name / "weights"


def predict(model_dir: Path, model: Model, texts: list[str]) -> NDArray[np.float64]:
    """The mean of all members' scores for each essay, clipped to the score range: [num_essays, num_targets]."""
    return np.clip(mean_scores(model_dir, model.members, model.data, texts), model.data.min_score, model.data.max_score)


def mean_scores(model_dir: Path, members: Sequence[Member], data: DataConfig, texts: list[str]) -> NDArray[np.float64]:
    """The mean of some members' scores for each essay, unclipped: [num_essays, num_targets]."""
    total = np.zeros((len(texts), len(data.targets)))
    for member in members:
        total += load_trainable(member.trainable).predict(_weights_dir(model_dir, member), texts)
    return total / len(members)
