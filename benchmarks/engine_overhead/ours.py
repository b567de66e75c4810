"""Our driver: `ell_tune.runs.search.search` over a shipped space, with the trainable that trains nothing."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from benchmarks.engine_overhead.readings import Readings
from ell_tune.essays.sample_essays import write_sample_data
from ell_tune.running.ray_cluster import connected, resources
from ell_tune.runs.budget import Budget
from ell_tune.runs.search import SearchRequest, check_request, search
from ell_tune.trials.progress import Display, PlainDisplay, Plan
from ell_tune.trials.records import TrialRecord

SPACE = Path(__file__).parents[2] / "search_spaces" / "deberta_v3_base.yaml"


class _CountingDisplay:
    """Counts events, and passes them on to the display of a search whose output goes to a file."""

    def __init__(self, display: Display, readings: Readings) -> None:
        self._display = display
        self._readings = readings
        self.running_at = 0.0

    def running(self, plan: Plan, trials: Sequence[TrialRecord]) -> Any:
        self.running_at = time.monotonic()
        return self._display.running(plan, trials)

    def changed(self, trial: TrialRecord) -> None:
        self._display.changed(trial)
        if trial.ended is not None:
            self._readings.count_end()
        elif trial.steps:
            self._readings.count_report()


def run(folder: Path, trials: int, reports: int, marks: Sequence[int], sampler: str = "random") -> float:
    """Searches the study in `folder` until it has so many trials, and writes `readings.json` beside it.

    Returns the seconds from reading the request to the point where the first trial could start, without Ray's start.
    """
    space, train = _write_inputs(folder, reports, sampler)
    with connected(None), open(folder / "output.txt", "a") as output:
        started = time.monotonic()
        checked = check_request(SearchRequest(space, train, folder / "study", (), Budget(trials)))
        readings = Readings(marks)
        display = _CountingDisplay(PlainDisplay(Console(file=output)), readings)
        search(checked, resources(1.0, 0.0, None, joined=False), display)
    readings.write(folder / "readings.json")
    return display.running_at - started


def _write_inputs(folder: Path, reports: int, sampler: str) -> tuple[Path, Path]:
    space = yaml.safe_load(SPACE.read_text())
    space["trainable"] = "benchmarks.engine_overhead.fast_trainable"
    space["study"]["sampler"] = {"name": sampler}
    space["base"]["training"]["evaluations"] = reports
    (folder / "space.yaml").write_text(yaml.safe_dump(space, sort_keys=False))
    train, _ = write_sample_data(50, seed=0, out_dir=folder / "essays")
    return folder / "space.yaml", train
