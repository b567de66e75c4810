"""Provenance: the versions and the commit that run, and nothing about the machine's owner."""

import json
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import optuna

import ell_tune
from ell_tune.studies.provenance import provenance

PACKAGE_DIR = Path(ell_tune.__file__).parent


def git(directory: Path, *arguments: str) -> str:
    result = subprocess.run(["git", *arguments], cwd=directory, capture_output=True, text=True, check=False)
    return result.stdout.strip()


def test_names_the_versions_that_run() -> None:
    found = provenance()
    assert found.keys() == {"ell_tune", "commit", "python", "machine", "packages"}
    assert found["ell_tune"] == ell_tune.__version__
    assert found["python"] == platform.python_version()
    assert found["packages"]["numpy"] == np.__version__
    assert found["packages"]["optuna"] == optuna.__version__
    assert json.loads(json.dumps(found)) == found


def test_names_the_commit_of_the_checkout_and_whether_it_was_changed() -> None:
    head = git(PACKAGE_DIR, "rev-parse", "--short=12", "HEAD")
    is_dirty = bool(git(PACKAGE_DIR, "diff", "HEAD", "--name-only"))
    assert provenance()["commit"] == (f"{head}{'-dirty' if is_dirty else ''}" if head else None)


def test_an_installed_copy_does_not_name_the_commit_of_the_project_around_it(tmp_path: Path) -> None:
    site = tmp_path / "project" / "site-packages"
    shutil.copytree(PACKAGE_DIR, site / "ell_tune", ignore=shutil.ignore_patterns("__pycache__"))
    git(tmp_path / "project", "init", "--quiet")
    author = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
    git(tmp_path / "project", *author, "commit", "--quiet", "--allow-empty", "--message", "first")
    assert re.fullmatch("[0-9a-f]{40}", git(site, "rev-parse", "HEAD"))
    code = "from ell_tune.studies.provenance import provenance as p; print(p()['commit'])"
    result = subprocess.run([sys.executable, "-c", code], cwd=site, capture_output=True, text=True, check=True)
    assert result.stdout == "None\n"


def test_knows_no_name_and_no_path() -> None:
    assert provenance()["machine"] == f"{platform.system()} {platform.machine()}"
    assert not re.search(r"[/\\]", json.dumps(provenance()))
