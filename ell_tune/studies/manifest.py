"""study.json: what a study is made of, sealed, so that a change which no search made is noticed."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ell_tune.errors import UserError, first_line
from ell_tune.files.atomic import write_whole
from ell_tune.studies.journal import damaged

_FORMAT = 3


def manifest_path(study_dir: Path) -> Path:
    return study_dir / "study.json"


def study_exists(study_dir: Path) -> bool:
    return manifest_path(study_dir).is_file()


def write_manifest(study_dir: Path, manifest: Mapping[str, Any]) -> None:
    """Writes a study's manifest, whole."""
    content = json.loads(json.dumps({**manifest, "format": _FORMAT}))  # as it will be read
    write_whole(manifest_path(study_dir), json.dumps({**content, "sha256": _sha256(content)}, indent=1))


def read_manifest(study_dir: Path) -> dict[str, Any]:
    """What a study is made of, without its trials.

    Raises:
        UserError: the folder holds no study, a damaged one, or one of another format.
    """
    if not study_exists(study_dir):
        what = "the folder holds no study.json"
        if not study_dir.is_dir():
            what = "this is a file" if study_dir.exists() else "there is no such folder"
        raise UserError(
            f"{study_dir}: a study folder is needed, as `ell-tune search ... --study DIR` makes it, but {what}."
        )
    path = manifest_path(study_dir)
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        found, made_by = manifest["format"], manifest["provenance"]["ell_tune"]
        is_as_written = found != _FORMAT or manifest.pop("sha256") == _sha256(manifest)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise damaged(path, f"what stands there is not what was written ({first_line(error)})") from None
    if not is_as_written:
        raise damaged(path, "what stands there is not what was written (its checksum is another)")
    if found != _FORMAT:
        raise UserError(
            f"{path}: this ell-tune reads studies of format {_FORMAT}, but this one has format {found!r}. Use the "
            f"ell-tune that made it: version {made_by}."
        )
    for other in (study_dir / "journal.log", study_dir / "folds.csv"):
        if not other.is_file():  # a journal would be made anew, without a trial
            raise damaged(other, "it is gone")
    return manifest


def _sha256(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
