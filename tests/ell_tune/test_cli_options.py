"""The reading of sizes, scores and settings; times are tested with the command."""

import subprocess
import sys
from math import inf, nan

import pytest
import typer

from ell_tune.cli.options import bytes_of, finite, score_of
from ell_tune.errors import UserError


@pytest.mark.parametrize(
    ("text", "size"), [("900B", 900), ("500MB", 5e8), ("20 GB", 2e10), ("1.5tb", 1.5e12), (None, None)]
)
def test_sizes(text: str | None, size: float | None) -> None:
    assert bytes_of("--disk-budget", text) == size


@pytest.mark.parametrize("text", ["much", "0GB", "20", "20GiB", "-1MB", ""])
def test_what_is_no_size_is_refused(text: str) -> None:
    message = f"^--disk-budget takes a size above 0 such as 500MB, 20GB or 1.5TB, but got '{text}'"
    with pytest.raises(UserError, match=message):
        bytes_of("--disk-budget", text)


def test_scores() -> None:
    assert (score_of("--target-score", 0.45), score_of("--target-score", None)) == (0.45, -inf)


@pytest.mark.parametrize("score", [nan, inf, -inf])
def test_what_is_no_score_is_refused(score: float) -> None:
    with pytest.raises(UserError, match=rf"^--target-score takes a score such as 0.45, but got {score}\.$"):
        score_of("--target-score", score)


@pytest.mark.parametrize("number", [nan, inf])
def test_a_share_of_a_machine_is_finite(number: float) -> None:
    with pytest.raises(typer.BadParameter, match=f"a finite number is needed, not {number}"):
        finite(number)
    assert (finite(0.5), finite(None)) == (0.5, None)


@pytest.mark.parametrize("setting", ["evaluations", "=2", "a..b=2", "x=[1"])
def test_a_setting_without_its_form_is_refused_before_the_heavy_imports(setting: str) -> None:
    code = (
        "import sys; from ell_tune.cli import app; sys.argv[1:1] = ['search', 'space.yaml', '--set']\n"
        "try: app()\n"
        "except Exception as error: print(error, sorted({'ray', 'optuna', 'torch'} & sys.modules.keys()))"
    )
    words = [sys.executable, "-c", code, setting, "--train", "train.csv", "--study", "study"]
    out = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert out.startswith("--set ") and out.endswith(". []\n")
