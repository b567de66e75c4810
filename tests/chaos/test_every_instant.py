"""The driver dies at a line of the journal, and the search goes on: no Ray, so that every line can be tried.

A driver that is killed leaves a beginning of its journal, cut anywhere, even within a line. Each test here cuts an
undisturbed search's journal, goes on from what is left, and compares every decision.
"""

import json
import random
import shutil
from pathlib import Path

import pytest
from plain_engine import run_all
from searches import decisions
from studies import make_source

from ell_tune.runs.budget import Budget
from ell_tune.studies.study import Study

BUDGET = Budget(num_trials=9)
NUM_FAST = 6  # cuts that `make test` tries; `make chaos` tries all


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("undisturbed")
    source, study = make_source(folder / "study", BUDGET)
    run_all(source, folder / "artifacts")
    return study


def cut_copy(study: Study, folder: Path, num_bytes: int) -> Path:
    """The study as a driver left it that died after so many bytes of the journal."""
    shutil.copytree(study.study_dir, folder / "study", ignore=shutil.ignore_patterns("trials"))
    with open(folder / "study" / "journal.log", "rb+") as journal:
        journal.truncate(num_bytes)
    return folder / "study"


def goes_on(study_dir: Path) -> Study:
    source, study = make_source(study_dir, BUDGET)
    run_all(source, study_dir.with_name("artifacts"))
    return study


def line_ends(study: Study) -> list[int]:
    """Where in the journal each line ends that a search wrote, those of the study's making excepted."""
    lines = (study.study_dir / "journal.log").read_bytes().splitlines(keepends=True)
    ends = [sum(map(len, lines[: index + 1])) for index in range(len(lines))]
    num_making = next(index for index, line in enumerate(lines) if json.loads(line)["op_code"] not in (0, 4))
    return ends[num_making - 1 :]


def check_cuts(undisturbed: Study, folder: Path, cuts: list[int]) -> None:
    expected = decisions(undisturbed.record())
    assert len(expected) == BUDGET.num_trials
    different = []
    for cut in cuts:
        study = goes_on(cut_copy(undisturbed, folder / str(cut), cut))
        if decisions(study.record()) != expected:
            before = (undisturbed.study_dir / "journal.log").read_bytes()[:cut].splitlines()
            different.append((len(before), before[-1][:200]))
        states = [trial.state.name for trial in study.optuna_study.get_trials()]
        assert len(states) == BUDGET.num_trials and "WAITING" not in states and "RUNNING" not in states
    assert different == []


def test_a_search_goes_on_the_same_from_some_line_of_its_journal(undisturbed: Study, tmp_path: Path) -> None:
    check_cuts(undisturbed, tmp_path, random.Random(1).sample(line_ends(undisturbed), NUM_FAST))


def test_a_search_goes_on_the_same_from_within_a_line_of_its_journal(undisturbed: Study, tmp_path: Path) -> None:
    ends = line_ends(undisturbed)
    check_cuts(undisturbed, tmp_path, random.Random(2).sample(range(ends[0], ends[-1]), NUM_FAST))


@pytest.mark.chaos
@pytest.mark.timeout(1800)
def test_a_search_goes_on_the_same_from_every_line_of_its_journal(undisturbed: Study, tmp_path: Path) -> None:
    check_cuts(undisturbed, tmp_path, line_ends(undisturbed))
