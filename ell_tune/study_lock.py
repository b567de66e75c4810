"""At most one process writes a study at a time. The operating system frees the lock of a process that dies."""

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from optuna.storages.journal import JournalFileOpenLock
from optuna.storages.journal._file import get_lock_file

from ell_tune.errors import UserError


@contextmanager
def hold_study(study_dir: Path, **plan: float) -> Iterator[None]:
    """Holds the study for this process.

    Args:
        plan: what the process means to do, for `holder`.

    Raises:
        UserError: another process holds it; the message says which.
    """
    with open(study_dir / "holder.json", "a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise UserError(
                f"{study_dir}: a study can be searched by one process at a time, and it is held by "
                f"{_holder(file.read())}. Wait for it, end it, or give another --study folder."
            ) from None
        file.truncate(0)
        json.dump({"host": socket.gethostname(), "pid": os.getpid(), **plan}, file)
        file.flush()
        yield


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


class FlockJournalLock(JournalFileOpenLock):
    """Optuna's journal lock as an `flock`: unlike its lock files, it needs no grace period after a `kill -9`."""

    def __init__(self, journal_path: Path) -> None:
        super().__init__(str(journal_path))
        self._path = journal_path.with_suffix(".lock")
        self._descriptor = -1

    def acquire(self) -> bool:
        self._descriptor = os.open(self._path, os.O_CREAT | os.O_RDWR)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        return True

    def release(self) -> None:
        os.close(self._descriptor)


def drop_torn_line(journal_path: Path) -> None:
    """Removes a last line that a killed process left unfinished, so that the next one does not join it.

    Whoever writes a line holds the journal's lock, so no line that is being written is taken for one left unfinished.
    """
    with get_lock_file(FlockJournalLock(journal_path)), open(journal_path, "rb+") as file:
        end = file.seek(0, os.SEEK_END)
        position = end
        while position > 0:
            position -= 1
            file.seek(position)
            if file.read(1) == b"\n":
                position += 1
                break
        if position < end:
            file.truncate(position)
