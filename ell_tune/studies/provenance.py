"""With what a result was made: versions, commit, machine kind. No host name, user name or path."""

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ell_tune import __version__

_PACKAGES = ("torch", "transformers", "ray", "optuna", "iterative-stratification", "scikit-learn", "numpy")


def provenance() -> dict[str, Any]:
    """The software that is running, as plain data."""
    return {
        "ell_tune": __version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "packages": {name: _version(name) for name in _PACKAGES},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit that ell-tune runs from, marked where the tree differs; None outside a checkout of ell-tune."""
    package_dir = Path(__file__).parents[1]
    # An installed ell-tune may lie in a virtual environment within another project's checkout.
    if _git(package_dir, "rev-parse", "--show-prefix") != f"{package_dir.name}/":
        return None
    return _git(package_dir, "describe", "--always", "--exclude=*", "--dirty", "--abbrev=12") or None


def _git(directory: Path, *arguments: str) -> str:
    """What git prints; nothing where it fails or is not installed."""
    try:
        result = subprocess.run(["git", *arguments], cwd=directory, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return result.stdout.strip()
