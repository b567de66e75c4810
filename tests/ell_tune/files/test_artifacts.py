"""One contract for local folders and S3 (a real S3 server, moto's, on loopback)."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ell_tune.files.artifacts import ArtifactFolder, FitCheckpoints, all_item_sizes, delete_checkpoints


@pytest.fixture(scope="module")
def s3_root() -> Iterator[str]:
    boto3 = pytest.importorskip("boto3")
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    _, port = server.get_host_and_port()
    patch = pytest.MonkeyPatch()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        patch.setenv(name, "testing")
    patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}", region_name="us-east-1").create_bucket(Bucket="essays")
    yield f"s3://essays/ell-tune?endpoint_override=127.0.0.1%3A{port}&scheme=http&region=us-east-1"
    server.stop()
    patch.undo()


@pytest.fixture(params=["local", "s3"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "artifacts") if request.param == "local" else request.getfixturevalue("s3_root")


def _write(text: str) -> object:
    def write(directory: Path) -> None:
        assert list(directory.iterdir()) == []
        (directory / "a.txt").write_text(text)
        (directory / "deep").mkdir()
        (directory / "deep" / "b.txt").write_text(text * 2)

    return write


def test_what_is_published_can_be_fetched_replaced_and_deleted(root: str, tmp_path: Path) -> None:
    folder = ArtifactFolder(root, "trial-0001")
    assert folder.names() == []
    folder.publish("weights", _write("old"))  # type: ignore[arg-type]
    folder.publish("weights", _write("new"))  # type: ignore[arg-type]
    folder.publish("result", _write("r"))  # type: ignore[arg-type]
    assert folder.names() == ["result", "weights"]
    assert ArtifactFolder(root, "trial-0002").names() == []
    fetched = folder.fetch("weights", tmp_path / "scratch")
    assert (fetched / "a.txt").read_text() == "new"
    assert (fetched / "deep" / "b.txt").read_text() == "newnew"
    marker = len('{"a.txt": 3, "deep/b.txt": 6}')
    sizes = {"weights": 3 + 6 + marker, "result": 1 + 2 + marker}
    assert folder.item_sizes() == sizes
    assert all_item_sizes(root)["trial-0001"] == sizes
    folder.delete("weights")
    folder.delete("weights")
    folder.delete("result")
    assert folder.names() == []


def test_an_item_whose_writer_died_is_not_there_and_can_be_written_again(root: str, tmp_path: Path) -> None:
    folder = ArtifactFolder(root, "trial-0003")

    def dies(directory: Path) -> None:
        (directory / "a.txt").write_text("half")
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        folder.publish("weights", dies)
    assert folder.names() == []
    folder.publish("weights", _write("whole"))  # type: ignore[arg-type]
    assert (folder.fetch("weights", tmp_path / "scratch") / "a.txt").read_text() == "whole"


def test_a_fit_finds_its_last_whole_checkpoint(root: str, tmp_path: Path) -> None:
    folder = ArtifactFolder(root, "trial-0004")
    checkpoints = FitCheckpoints(folder, tmp_path / "scratch")
    assert checkpoints.latest() is None
    for step in range(12):  # past ten: names must sort as numbers do
        checkpoints.save(lambda directory, step=step: (directory / "step").write_text(str(step)) and None)
    assert len(folder.names()) == 1
    after_a_restart = FitCheckpoints(ArtifactFolder(root, "trial-0004"), tmp_path / "other").latest()
    assert after_a_restart is not None and (after_a_restart / "step").read_text() == "11"

    def dies(directory: Path) -> None:
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        checkpoints.save(dies)
    still = FitCheckpoints(folder, tmp_path / "third").latest()
    assert still is not None and (still / "step").read_text() == "11"
    delete_checkpoints(folder)
    assert checkpoints.latest() is None
