"""The report in a real browser: every figure is drawn, no error is logged, and nothing is run from a study.

Chromium runs headless and offline; what a page logs appears on its stderr as `CONSOLE`.
"""

import dataclasses
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from synthetic_study import search, study, trial

from analysis.report import write_report
from ell_tune.trials.records import StudyRecord, TrialState

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --enable-logging=stderr --virtual-time-budget=10000 --dump-dom"
)
HOSTILE = "<script>console.error('ran')</script><img src=x onerror=\"console.error('ran')\">"

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium on the PATH")


def load(page: Path, profile_dir: Path) -> tuple[str, list[str]]:
    """The page's DOM once its scripts have run, and what they logged."""
    assert CHROMIUM
    ran = subprocess.run(
        [CHROMIUM, *FLAGS.split(), f"--user-data-dir={profile_dir}", page.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return ran.stdout, [line for line in ran.stderr.splitlines() if "CONSOLE" in line]


def draw(record: StudyRecord, tmp_path: Path) -> str:
    write_report(record, tmp_path / "report.html")
    dom, logged = load(tmp_path / "report.html", tmp_path / "profile")
    assert logged == []
    return dom


def drawn_figures(dom: str) -> list[str]:
    """The ids of the figures, each with its part of the DOM checked for drawn marks or bars."""
    parts = re.split(r'<div class="plot[^"]*" id="([^"]+)"', dom)[1:]
    ids, bodies = parts[::2], parts[1::2]
    for figure_id, body in zip(ids, bodies, strict=True):
        assert 'class="main-svg"' in body, f"{figure_id} is not drawn"
        assert re.search(r'class="(point|js-line)"', body), f"{figure_id} has no marks"
    return ids


def test_every_figure_of_a_search_is_drawn(tmp_path: Path) -> None:
    record = dataclasses.replace(search(40), cost="seconds")
    assert drawn_figures(draw(record, tmp_path)) == [
        "best-over-trials", "best-over-cost", "score-against-cost", "learning-curves",
        *(f"field-{index}" for index in range(8)),
        "parallel", "importance-bars",
    ]  # fmt: skip


def test_one_hostile_trial_beside_failed_ones_is_drawn_and_runs_nothing(tmp_path: Path) -> None:
    hostile = trial(0, 0.45, config={HOSTILE: HOSTILE}, params={"loss.name": HOSTILE, HOSTILE: HOSTILE}, reason=HOSTILE)
    failed = [
        dataclasses.replace(hostile, number=number, state=TrialState.FAILED, score=None, curve={}) for number in (1, 2)
    ]
    dom = draw(study(hostile, *failed, name=HOSTILE, searched=("loss.name", HOSTILE)), tmp_path)
    assert drawn_figures(dom) == [
        "best-over-trials", "best-over-cost", "learning-curves", "field-0", "field-1", "parallel"
    ]  # fmt: skip


def test_a_page_that_fails_would_be_noticed(tmp_path: Path) -> None:
    page = tmp_path / "broken.html"
    page.write_text('<div class="plot" id="a"></div><script>no_such_function()</script>')
    dom, logged = load(page, tmp_path / "profile")
    assert len(logged) == 1 and "no_such_function is not defined" in logged[0]
    with pytest.raises(AssertionError, match="a is not drawn"):
        drawn_figures(dom)
