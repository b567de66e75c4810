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

from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from ell_tune.disk import needs_to_write
from ell_tune.errors import UserError


@contextmanager
def hold_study(study_dir: Path) -> Iterator[None]:
    """Holds the study for this process.

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
            file.write(json.dumps({"host": socket.gethostname(), "pid": os.getpid()}).encode())
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


class WholeLinesJournal(JournalFileBackend):
    """Optuna's journal file, which an append that fails leaves as it was: the next line must not join a torn one."""

    def __init__(self, journal_path: Path) -> None:
        super().__init__(str(journal_path), lock_obj=FlockJournalLock(journal_path))
        self._path = journal_path

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Appends all of the lines or none.

        Raises:
            UserError: the disk is full or cannot be written.
        """
        with needs_to_write(self._path.parent):
            try:
                super().append_logs(logs)
            except OSError:
                drop_torn_line(self._path)
                raise


def drop_torn_line(journal_path: Path) -> None:
    """Removes a last line that a killed process left unfinished, so that the next one does not join it."""
    with open(journal_path, "rb+") as file:
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
