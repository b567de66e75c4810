"""Memory-mapped files of hidden states, shared by all fits on a machine and bounded in size.

A file holds one hidden state of every essay of a set, without padding, and a flag for each chunk of essays that is
there. Writers need no lock: what two of them write at the same place is the same, and a flag is set after its data. A
file may be deleted at any time: whoever has it open keeps it until the process ends.
"""

import os
import tempfile
import time
from collections.abc import Collection, Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

MAX_BYTES = 24 * 2**30  # of all files together: then the least recently used go
MAX_AGE_SECONDS = 24 * 3600  # since the last use
_SUFFIX = ".states"
_PAGE = 4096


def state_folder() -> Path | None:
    """This user's folder of state files in the temporary directory, or None where it cannot be trusted or made."""
    folder = Path(tempfile.gettempdir()) / f"ell-tune-states-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        # Another user may have made it first, to read what is put there.
        return folder if folder.stat().st_uid == os.getuid() and not folder.is_symlink() else None
    except OSError:
        return None


def make_room(folder: Path, keys: Collection[str], num_bytes: int) -> bool:
    """Deletes old files until those of `keys`, of `num_bytes` together, fit beside the rest; whether they do."""
    if num_bytes > MAX_BYTES:
        return False
    others = [path for path in folder.glob(f"*{_SUFFIX}") if path.stem not in keys]
    total = num_bytes
    for path, last_used, size in sorted(_stats(others), key=lambda entry: entry[1], reverse=True):
        total += size
        if total > MAX_BYTES or time.time() - last_used > MAX_AGE_SECONDS:
            path.unlink(missing_ok=True)
            total -= size
    disk = os.statvfs(folder)
    missing = num_bytes - sum(size for _, _, size in _stats(folder / f"{key}{_SUFFIX}" for key in keys))
    return 2 * missing <= disk.f_bavail * disk.f_frsize


def _stats(paths: Iterable[Path]) -> list[tuple[Path, float, int]]:
    """Each file that is still there, with the time of its last use and its size."""
    found = []
    for path in paths:
        try:
            stat = path.stat()
        except FileNotFoundError:
            continue
        found.append((path, stat.st_mtime, stat.st_size))
    return found


class StateFile:
    """One hidden state [num_tokens, width] of a whole essay set."""

    def __init__(self, folder: Path, key: str, num_tokens: int, width: int, num_chunks: int) -> None:
        """Opens or makes the file.

        Raises:
            OSError: the disk has no room for it. Its room is taken now: a full disk found through a memory map would
                kill the process.
        """
        path = folder / f"{key}{_SUFFIX}"
        start = -(-num_chunks // _PAGE) * _PAGE
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, start + 4 * num_tokens * width)
            os.utime(descriptor)
            with os.fdopen(os.dup(descriptor), "r+b") as file:
                self._has = np.memmap(file, np.uint8, "r+", shape=(num_chunks,))
                self.states: NDArray[np.float32] = np.memmap(
                    file, np.float32, "r+", offset=start, shape=(num_tokens, width)
                )
        finally:
            os.close(descriptor)

    def has(self, chunk: int) -> bool:
        """Whether the states of a chunk are there."""
        return bool(self._has[chunk])

    def mark(self, chunk: int) -> None:
        """Says that the states of a chunk are there, which they must be."""
        self._has[chunk] = 1
