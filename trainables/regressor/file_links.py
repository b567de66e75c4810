"""Files that are never changed, in a second place."""

import os
import shutil
from pathlib import Path


def link_or_copy(source: Path, destination: Path) -> None:
    """Gives a file that is never changed a second place: as a hard link, or as a copy on another file system."""
    try:
        os.link(source, destination)
    except OSError:
        shutil.copyfile(source, destination)
