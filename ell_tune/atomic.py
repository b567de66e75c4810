"""Files that are either whole or not there."""

import os
from pathlib import Path

from ell_tune.errors import UserError


def check_parent(path: Path) -> None:
    """Raises `UserError` if the folder that the file is to be written into does not exist."""
    if not path.absolute().parent.is_dir():
        raise UserError(
            f"{path}: the file is written into an existing folder, but there is no folder {path.parent}. "
            f"Make it, or give another --out."
        )


def write_text(path: Path, text: str) -> None:
    """Writes a UTF-8 file under a temporary name, then renames it."""
    check_parent(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
