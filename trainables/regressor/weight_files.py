"""Folders of weights: emptied for another fit, filled with links to files that are never changed."""

import os
import shutil
from pathlib import Path


def link_or_copy(source: Path, destination: Path) -> None:
    """Gives a file that is never changed a second place: as a hard link, or as a copy on another file system."""
    try:
        os.link(source, destination)
    except OSError:
        shutil.copyfile(source, destination)


def empty_folder(folder: Path) -> None:
    """Deletes all that a folder holds, and leaves the folder."""
    for child in folder.iterdir():
        shutil.rmtree(child) if child.is_dir() else child.unlink()
