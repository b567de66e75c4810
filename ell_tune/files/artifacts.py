"""Where jobs leave what they make: a folder or an `s3://` URI that the driver and every node can reach.

An item is a directory of files. It counts as present only while it holds every file that its marker names, of the
size named there, and the marker is written last: a process killed at any instant leaves either a whole item or none,
and a file that was cut short or lost later takes its item with it.
"""

import json
import shutil
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import pyarrow.fs

from ell_tune.files.disk import needs_to_write

RESULT_ITEM = "result"  # score and out-of-fold predictions of a finished job
WEIGHTS_ITEM = "weights"  # what `predict` needs, where weights are kept

_MARKER = ".complete"


class ArtifactFolder:
    """The items of one job, by name."""

    def __init__(self, root: str, job_name: str) -> None:
        """`root` is a local path or a URI that `pyarrow.fs` knows."""
        self._filesystem, path = _open(root)
        self._path = f"{path}/{job_name}"
        self._is_local = isinstance(self._filesystem, pyarrow.fs.LocalFileSystem)

    def names(self, damaged_too: bool = False) -> list[str]:
        """The items present, sorted; `damaged_too`: also what is left of others."""
        selector = pyarrow.fs.FileSelector(self._path, allow_not_found=True)
        return sorted(
            info.base_name
            for info in self._filesystem.get_file_info(selector)
            if info.type == pyarrow.fs.FileType.Directory and (damaged_too or self._is_whole(info.path))
        )

    def item_sizes(self) -> dict[str, int]:
        """The bytes that each item takes, whole or not."""
        sizes = Counter[str]()
        for path, size in self._sizes(self._path).items():
            sizes[path.partition("/")[0]] += size
        return dict(sizes)

    def publish(self, name: str, write: Callable[[Path], None]) -> None:
        """Lets `write` fill an empty local directory, and makes it the item `name`. Leaves nothing where that fails.

        Raises:
            UserError: the disk is full or cannot be written.
        """
        destination = f"{self._path}/{name}"
        try:
            # Judges an error while what was half written still fills the disk.
            with needs_to_write(Path(self._path) if self._is_local else destination):
                self.delete(name)
                self._fill(destination, write)
                marker = json.dumps(self._sizes(destination)).encode()
                with self._filesystem.open_output_stream(f"{destination}/{_MARKER}") as stream:
                    stream.write(marker)
        except Exception:
            self._clear_away(name)
            raise

    def _fill(self, destination: str, write: Callable[[Path], None]) -> None:
        if self._is_local:
            Path(destination).mkdir(parents=True)
            write(Path(destination))
            return
        with tempfile.TemporaryDirectory(prefix="ell-tune-") as scratch:
            write(Path(scratch))
            self._filesystem.create_dir(destination)
            pyarrow.fs.copy_files(scratch, destination, destination_filesystem=self._filesystem)

    def _clear_away(self, name: str) -> None:
        try:
            self.delete(name)
        except OSError:
            pass  # what keeps it from being written may keep it from being deleted; without its marker it is no item

    def fetch(self, name: str, scratch_dir: Path) -> Path:
        """A local directory with the item: itself, or a copy under `scratch_dir`."""
        source = f"{self._path}/{name}"
        if self._is_local:
            return Path(source)
        copy = scratch_dir / name
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir(parents=True)
        pyarrow.fs.copy_files(source, str(copy), source_filesystem=self._filesystem)
        return copy

    def delete(self, name: str) -> None:
        """Removes the item, its marker first; nothing happens where there is none."""
        path = f"{self._path}/{name}"
        if self._has_marker(path):
            self._filesystem.delete_file(f"{path}/{_MARKER}")
        if self._filesystem.get_file_info(path).type == pyarrow.fs.FileType.Directory:
            self._filesystem.delete_dir(path)

    def _has_marker(self, path: str) -> bool:
        return bool(self._filesystem.get_file_info(f"{path}/{_MARKER}").is_file)

    def _is_whole(self, path: str) -> bool:
        if not self._has_marker(path):
            return False
        with self._filesystem.open_input_stream(f"{path}/{_MARKER}") as stream:
            marker = stream.read()
        if not marker:  # an older ell-tune's, which names no sizes; its files stood when it was written
            return True
        try:
            promised: dict[str, int] = json.loads(marker)
        except json.JSONDecodeError:  # cut short itself
            return False
        sizes = self._sizes(path)
        return all(sizes.get(name) == size for name, size in promised.items())

    def _sizes(self, path: str) -> dict[str, int]:
        """The size in bytes of each file of an item, by its path there."""
        return _file_sizes(self._filesystem, path)


def all_item_sizes(root: str) -> dict[str, dict[str, int]]:
    """The bytes of every item, whole or not, under the artifact folders of all jobs: job name → item → bytes."""
    sizes: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for path, size in _file_sizes(*_open(root)).items():
        job_name, _, rest = path.partition("/")
        sizes[job_name][rest.partition("/")[0]] += size
    return {job_name: dict(items) for job_name, items in sizes.items()}


def _open(root: str) -> tuple[pyarrow.fs.FileSystem, str]:
    filesystem, path = pyarrow.fs.FileSystem.from_uri(root if "://" in root else Path(root).resolve().as_uri())
    return filesystem, path


def _file_sizes(filesystem: pyarrow.fs.FileSystem, path: str) -> dict[str, int]:
    """The size in bytes of each file below a path, by its path there. Files may come and go meanwhile."""
    infos = filesystem.get_file_info(pyarrow.fs.FileSelector(path, recursive=True, allow_not_found=True))
    return {info.path.removeprefix(f"{path}/"): info.size for info in infos if info.is_file}


class FitCheckpoints:
    """A job's `ell_tune.trainable.Checkpoints`: saved states in its artifact folder, weights in a scratch directory."""

    def __init__(self, folder: ArtifactFolder, scratch_dir: Path) -> None:
        self._folder = folder
        self._scratch_dir = scratch_dir
        self._weights_dir = scratch_dir / "weights"
        self._weights_dir.mkdir(parents=True, exist_ok=True)

    def latest(self) -> Path | None:
        names = checkpoint_names(self._folder)
        return self._folder.fetch(names[-1], self._scratch_dir) if names else None

    def save(self, write: Callable[[Path], None]) -> None:
        old = checkpoint_names(self._folder)
        next_index = int(old[-1].split("-")[1]) + 1 if old else 0
        self._folder.publish(f"checkpoint-{next_index:06d}", write)
        for name in old:
            self._folder.delete(name)

    @property
    def weights_dir(self) -> Path:
        return self._weights_dir


def checkpoint_names(folder: ArtifactFolder, damaged_too: bool = False) -> list[str]:
    """The saved states of a job, the newest last."""
    return [name for name in folder.names(damaged_too) if name.startswith("checkpoint-")]


def delete_checkpoints(folder: ArtifactFolder) -> None:
    """Removes a job's saved states once it needs none any more, half-written ones with them."""
    for name in checkpoint_names(folder, damaged_too=True):
        folder.delete(name)
