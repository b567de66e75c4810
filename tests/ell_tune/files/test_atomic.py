"""Nothing is ever half-written."""

import os
import subprocess
from pathlib import Path

import pytest

from ell_tune.errors import UserError
from ell_tune.files.atomic import make_folder, whole_folder, write_whole


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    write_whole(path, "old\n")
    with pytest.raises(UnicodeEncodeError):
        write_whole(path, "new\n" * 100_000 + "\ud800")
    assert os.listdir(tmp_path) == ["out.csv"]
    assert path.read_text() == "old\n"
    write_whole(path, "new\n")
    assert path.read_bytes() == b"new\n"
    assert os.listdir(tmp_path) == ["out.csv"]


def test_refuses_where_it_cannot_write(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"the directory .*none must exist, but it does not"):
        write_whole(tmp_path / "none" / "out.csv", "")
    with pytest.raises(UserError, match="this is a directory or a device"):
        write_whole(tmp_path, "")
    with pytest.raises(UserError, match=r"the file cannot be written \(file name too long\). Name a place that can be"):
        write_whole(tmp_path / ("x" * 300), "")


def test_refuses_a_read_only_disk(tmp_path: Path) -> None:
    mount = ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", tmp_path]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("no disk can be mounted here")
    try:
        with pytest.raises(UserError, match=r"the file cannot be written \(read-only file system\)"):
            write_whole(tmp_path / "out.csv", "")
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_a_folder_is_there_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "made"
    for _ in ("new", "in the place of an empty one"):
        with whole_folder(path, place=path) as making:
            (making / "file").write_text("all of it")
            assert not (path / "file").exists()
        assert os.listdir(tmp_path) == ["made"] and (path / "file").read_text() == "all of it"
        (path / "file").unlink()


def test_a_folder_that_is_not_finished_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "made"
    with pytest.raises(ZeroDivisionError), whole_folder(path, place=path) as making:
        (making / "file").write_text("half of it")
        raise ZeroDivisionError
    assert os.listdir(tmp_path) == []
    with pytest.raises(UserError) as error, whole_folder(path, place=path) as making:
        write_whole(making / ("x" * 300), "")
    assert str(error.value).startswith(f"{path}/xxx")  # not the name that it has while it is made
    path.mkdir()
    with pytest.raises(OSError, match="not empty"), whole_folder(path, place=path):
        (path / "another's").touch()
    assert os.listdir(tmp_path) == ["made"] and os.listdir(path) == ["another's"]


def test_makes_a_folder_where_there_is_none_and_no_file_in_the_way(tmp_path: Path) -> None:
    for _ in range(2):  # it may be there already
        make_folder(tmp_path / "new" / "folder")
    assert (tmp_path / "new" / "folder").is_dir()
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "inside"):
        with pytest.raises(UserError, match=f"^{path}: a folder is needed, but this is a file, or lies in one"):
            make_folder(path)
