"""Files and folders that are either whole or not there."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ell_tune.errors import UserError
from ell_tune.files.disk import needs_to_write


def check_can_write(path: Path) -> None:
    """Refuses a place where no file can be written, before any work is done for it.

    Raises:
        UserError: the directory does not exist, or `path` is no regular file.
    """
    if not path.absolute().parent.is_dir():
        raise UserError(f"{path}: the directory {path.parent} must exist, but it does not. Create it first.")
    # A rename would replace a device such as /dev/stdout by a file of that name.
    if path.exists() and not path.is_file():
        raise UserError(f"{path}: the name of a file to write is needed, but this is a directory or a device.")


def write_whole(path: Path, text: str) -> None:
    """Writes a UTF-8 file under a temporary name and renames it, so that a half-written file is never seen.

    Raises:
        UserError: the directory does not exist or cannot be written to, or `path` is no regular file.
    """
    temporary_path = path.with_name(f".{os.getpid()}.tmp")
    try:
        check_can_write(path)
        try:
            temporary_path.write_text(text, encoding="utf-8", newline="")
            os.replace(temporary_path, path)
        finally:
            with suppress(OSError):  # it has its name by now, or the disk takes no more and lets nothing go either
                temporary_path.unlink()
    except OSError as error:
        raise UserError(
            f"{path}: the file cannot be written ({(error.strerror or str(error)).lower()}). Name a place that can be "
            f"written, or make room there."
        ) from None


def make_folder(path: Path) -> None:
    """Makes a folder to write into, with its parents, where it is not there yet.

    Raises:
        UserError: `path` is a file, lies in one, or cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UserError(
            f"{path}: a folder is needed, but this is a file, or lies in one. Give another --out."
        ) from None
    except OSError as error:
        raise UserError(f"{path}: the folder cannot be made: {error.strerror}. Give another --out.") from None


@contextmanager
def whole_folder(path: Path, place: Path) -> Iterator[Path]:
    """A new folder to fill, which becomes `path` (an empty folder or none yet) unless an error ends the block.

    Args:
        place: what the message names when the disk takes no more; see `needs_to_write`.

    Raises:
        OSError: `path` holds something by now.
        UserError: the disk is full or cannot be written.
    """
    making = path.with_name(f".{path.name}.making-{os.getpid()}")
    shutil.rmtree(making, ignore_errors=True)
    try:
        with needs_to_write(place):  # judges an error while what was half written still fills the disk
            making.mkdir(parents=True)
            yield making
            if path.exists():
                path.rmdir()
            os.replace(making, path)
    except UserError as error:  # of a file inside
        raise UserError(str(error).replace(str(making), str(path))) from None
    finally:
        shutil.rmtree(making, ignore_errors=True)
