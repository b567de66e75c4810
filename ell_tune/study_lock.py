"""At most one process writes a study at a time. The operating system frees the lock of a process that dies."""

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any

from ell_tune.disk import needs_to_write
from ell_tune.errors import UserError


@contextmanager
def hold_study(study_dir: Path, **plan: float) -> Iterator[None]:
    """Holds the study for this process.

    Args:
        plan: what the process means to do, for `holder`.

    Raises:
        UserError: another process holds it, and the message says which; or the folder cannot be written.
    """
    with _holder_file(study_dir) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise UserError(
                f"{study_dir}: a study can be searched by one process at a time, and it is held by "
                f"{_holder(file.read().decode())}. Wait for it, end it, or give another --study folder."
            ) from None
        with needs_to_write(study_dir):
            file.truncate(0)
            file.write(json.dumps({"host": socket.gethostname(), "pid": os.getpid(), **plan}).encode())
        yield


def _holder_file(study_dir: Path) -> FileIO:
    with needs_to_write(study_dir):
        return open(study_dir / "holder.json", "a+b", buffering=0)  # no write is left for the closing, to fail there


def is_held(study_dir: Path) -> bool:
    """Whether a process that is alive searches the study now.

    Asking takes the lock for an instant, but shared, so that readers are never refused for one another.
    """
    try:
        with open(study_dir / "holder.json", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:  # made, and not searched yet
        return False
    except BlockingIOError:
        return True
    return False


def holder(study_dir: Path) -> dict[str, Any] | None:
    """Who searches the study now (`host`, `pid`) and its plan; None if nobody does."""
    if not is_held(study_dir):
        return None
    try:
        found: dict[str, Any] = json.loads((study_dir / "holder.json").read_text(encoding="utf-8"))
    except json.JSONDecodeError:  # it has just been taken and not written yet
        return {}
    return found


def _holder(text: str) -> str:
    try:
        holder = json.loads(text)
    except json.JSONDecodeError:  # it has just been taken and not written yet
        return "another process"
    return f"process {holder['pid']} on host {holder['host']}"
