"""A disk of its own for a test: small, to be filled, or made read-only. Needs root; skips without."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class Disk:
    """A mounted tmpfs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._filler = path / "filler"

    def fill(self) -> None:
        """Takes every free page. Files keep what is left of their last page, so a write may begin and not end."""
        with open(self._filler, "wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"\0" * 4096)
            except OSError:
                pass

    def make_room(self) -> None:
        self._filler.unlink()

    def set_writable(self, writable: bool) -> None:
        subprocess.run(["mount", "-o", f"remount,{'rw' if writable else 'ro'}", self.path], check=True)


@contextmanager
def small_disk(path: Path) -> Iterator[Disk]:
    """One MiB, mounted at `path` for as long as the block runs."""
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", path], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.strip()}")
    try:
        yield Disk(path)
    finally:
        # Lazily: a process that a failed test left may still have a file open there.
        subprocess.run(["umount", "--lazy", path], check=True)
