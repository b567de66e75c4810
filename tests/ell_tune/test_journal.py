"""The journal file stays whole, and is read as Optuna wrote it."""

from pathlib import Path

import pytest

from ell_tune.journal import drop_torn_line


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"", b""),
        (b"one\n", b"one\n"),
        (b"one\ntwo\n", b"one\ntwo\n"),
        (b"one\ntw", b"one\n"),
        (b"on", b""),
        (b"one\n\n", b"one\n\n"),
    ],
)
def test_only_an_unfinished_last_line_is_dropped(tmp_path: Path, before: bytes, after: bytes) -> None:
    journal = tmp_path / "journal.log"
    journal.write_bytes(before)
    drop_torn_line(journal)
    assert journal.read_bytes() == after
