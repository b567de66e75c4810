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

from ell_tune.errors import UserError
from ell_tune.files.disk import needs_to_write


@contextmanager
def changing_trials(study_dir: Path) -> Iterator[None]:
    """Inside, no other process adds a trial from outside of a search, nor makes the study one of an edited space.

    Waits for one that does: moments. It is a lock beside that of `hold_study`, which a search holds all the time.
    """
    with needs_to_write(study_dir):
        journal = open(study_dir / "journal.log", "rb+")
    with journal:
        fcntl.flock(journal, fcntl.LOCK_EX)
        yield


@contextmanager
def hold_study(study_dir: Path, **plan: float) -> Iterator[None]:
    """Holds the study for this process.

    Args:
        plan: what the process means to do, for `holder`.

    Raises:
        UserError: another process holds it, and the message says which; or the folder cannot be written.
    """
    with _holder_file(study_dir) as file:
        if not _is_taken(file):
            file.seek(0)
            raise _held(study_dir, file.read().decode())
        with needs_to_write(study_dir):
            file.truncate(0)
            file.write(json.dumps({"host": socket.gethostname(), "pid": os.getpid(), **plan}).encode())
        yield


def check_not_held(study_dir: Path) -> None:
    """Refuses a study that `hold_study` would refuse now, before any work is done for it.

    Raises:
        UserError: another process holds it.
    """
    if is_held(study_dir):
        raise _held(study_dir, (study_dir / "holder.json").read_text(encoding="utf-8"))


def _is_taken(file: FileIO) -> bool:
    """Takes the lock, unless another process holds it; one that only asks who does shares it for an instant."""
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            pass
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        fcntl.flock(file, fcntl.LOCK_UN)


def _held(study_dir: Path, holder_json: str) -> UserError:
    return UserError(
        f"{study_dir}: a study can be searched by one process at a time, and it is held by {_holder(holder_json)}. "
        f"Wait for it, end it, or give another --study folder."
    )


def _holder_file(study_dir: Path) -> FileIO:
    with needs_to_write(study_dir):
        return open(study_dir / "holder.json", "a+b", buffering=0)  # no write is left for the closing, to fail there


def is_held(study_dir: Path) -> bool:
    """Whether a process that is alive searches the study now.

    Asking takes the lock for an instant, but shared, so that readers are never refused for one another, and a search
    that starts right then knows it from another search's.
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
