"""Tells a disk that takes no more from our own bugs: it is the user's to make room, and the same command goes on."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ell_tune.errors import UserError

_PROBLEMS = {
    os.strerror(errno.ENOSPC): "the disk is full",
    os.strerror(errno.EDQUOT): "the disk quota is used up",
    os.strerror(errno.EROFS): "the disk is read-only",
}
_NO_LEAVE = os.strerror(errno.EACCES)
_FULL_BYTES = 64 * 1024  # less than what one write needs, and more than what a full file system keeps back


@contextmanager
def needs_to_write(place: str | Path) -> Iterator[None]:
    """Inside, files under `place` (a path or a URI) are written, by whatever library.

    Raises:
        UserError: instead of an error that comes of a disk that takes no more.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        problem = _problem(error, place)
        if problem is None:
            raise
        raise UserError(
            f"{place}: files must be written there, but {problem}. Nothing that was finished is lost: make room or "
            f"give leave to write, and the same command goes on."
        ) from None


def _problem(error: BaseException, place: str | Path) -> str | None:
    # By the text: safetensors, torch and pyarrow have errors of their own, which end with that of the system.
    cause: BaseException | None = error
    while cause is not None:
        for text, problem in _PROBLEMS.items():
            if text in str(cause):
                return problem
        if _NO_LEAVE in str(cause) and str(place) in str(cause):  # not some file elsewhere that cannot be read
            return "this user may not"
        cause = cause.__cause__ or cause.__context__
    # `torch.save` says nothing of the reason, and leaves the disk full to the brim.
    if isinstance(place, Path) and place.exists() and shutil.disk_usage(place).free < _FULL_BYTES:
        return "the disk is full"
    return None
