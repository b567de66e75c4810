"""Files of hidden states: what is kept, what goes, and what two processes see of each other."""

import os
from pathlib import Path

import numpy as np
import pytest

from trainables.regressor.encoder import state_files
from trainables.regressor.encoder.state_files import StateFile, make_room, state_folder


def make_file(folder: Path, key: str, num_bytes: int, last_used: float) -> Path:
    path = folder / f"{key}.states"
    path.write_bytes(bytes(num_bytes))
    os.utime(path, (last_used, last_used))
    return path


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_files.time, "time", lambda: 1_000_000.0)


def test_a_second_reader_sees_what_the_first_wrote(tmp_path: Path) -> None:
    first = StateFile(tmp_path, "key", num_tokens=5, width=3, num_chunks=2)
    assert not first.has(0)
    first.states[1:3] = [[1, 2, 3], [4, 5, 6]]
    first.mark(1)
    second = StateFile(tmp_path, "key", num_tokens=5, width=3, num_chunks=2)
    assert (second.has(0), second.has(1)) == (False, True)
    np.testing.assert_array_equal(second.states, [[0, 0, 0], [1, 2, 3], [4, 5, 6], [0, 0, 0], [0, 0, 0]])


def test_many_chunks_do_not_reach_into_the_states(tmp_path: Path) -> None:
    file = StateFile(tmp_path, "key", num_tokens=2, width=2, num_chunks=5000)
    file.mark(4999)
    assert not file.states.any()


def test_a_deleted_file_stays_with_whoever_has_it(tmp_path: Path) -> None:
    file = StateFile(tmp_path, "key", num_tokens=2, width=2, num_chunks=1)
    file.states[:] = 7
    file.mark(0)
    (tmp_path / "key.states").unlink()
    assert file.has(0) and (file.states == 7).all()
    assert not StateFile(tmp_path, "key", num_tokens=2, width=2, num_chunks=1).has(0)


def test_its_room_is_taken_when_it_is_made(tmp_path: Path) -> None:
    StateFile(tmp_path, "key", num_tokens=1000, width=8, num_chunks=1)
    assert (tmp_path / "key.states").stat().st_blocks * 512 >= 4 * 1000 * 8


def test_the_least_recently_used_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_files, "MAX_BYTES", 100)
    old, newer = make_file(tmp_path, "old", 40, 999_000), make_file(tmp_path, "newer", 40, 999_900)
    assert make_room(tmp_path, {"mine"}, 30)
    assert (old.exists(), newer.exists()) == (False, True)


def test_what_is_asked_for_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_files, "MAX_BYTES", 100)
    mine, other = make_file(tmp_path, "mine", 60, 900_000), make_file(tmp_path, "other", 50, 999_900)
    assert make_room(tmp_path, {"mine"}, 60)
    assert (mine.exists(), other.exists()) == (True, False)


def test_files_that_nobody_used_for_a_day_go(tmp_path: Path) -> None:
    stale, fresh = make_file(tmp_path, "stale", 1, 1_000_000 - 90_000), make_file(tmp_path, "fresh", 1, 999_000)
    assert make_room(tmp_path, set(), 0)
    assert (stale.exists(), fresh.exists()) == (False, True)


def test_more_than_the_bound_is_refused_and_costs_nobody_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_files, "MAX_BYTES", 100)
    other = make_file(tmp_path, "other", 50, 999_900)
    assert not make_room(tmp_path, {"mine"}, 101)
    assert other.exists()


def test_more_than_half_of_the_free_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
    monkeypatch.setattr(state_files, "MAX_BYTES", 10 * free)
    assert not make_room(tmp_path, {"mine"}, free)


def test_only_this_user_reads_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_files.tempfile, "gettempdir", lambda: str(tmp_path))
    folder = state_folder()
    assert folder is not None and folder.parent == tmp_path
    assert folder.stat().st_mode & 0o777 == 0o700
    StateFile(folder, "key", 1, 1, 1)
    assert (folder / "key.states").stat().st_mode & 0o777 == 0o600


def test_a_folder_that_another_made_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_files.tempfile, "gettempdir", lambda: str(tmp_path))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"ell-tune-states-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    assert state_folder() is None
