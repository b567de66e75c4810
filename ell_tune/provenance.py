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
    """The commit that ell-tune runs from, marked where the tree differs from it; None outside a checkout."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return described.stdout.strip() or None
