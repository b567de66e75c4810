"""The two drivers that are compared, each run in a process of its own."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import ray
import yaml
from ray import tune
from rich.console import Console

from benchmarks.engine_overhead.readings import Readings
from ell_tune.progress import Display, PlainDisplay, Plan
from ell_tune.ray_cluster import connected, resources
from ell_tune.records import TrialRecord
from ell_tune.search import Budget, SearchRequest, check_request, search

SPACE = Path(__file__).parents[2] / "search_spaces" / "deberta_v3_base.yaml"
NUM_ESSAYS = 50


def write_inputs(folder: Path, reports: int, sampler: str) -> tuple[Path, Path]:
    """The shipped space over the trainable that trains nothing, and essays."""
    space = yaml.safe_load(SPACE.read_text())
    space["trainable"] = "benchmarks.engine_overhead.fast_trainable"
    space["study"]["sampler"] = {"name": sampler}
    space["base"]["training"]["evaluations"] = reports
    (folder / "space.yaml").write_text(yaml.safe_dump(space, sort_keys=False))
    rng = np.random.default_rng(0)
    targets = ["cohesion", "syntax", "vocabulary", "phraseology", "grammar", "conventions"]
    rows = [",".join(["text_id", "full_text", *targets])]
    rows += [f"E{i},An essay," + ",".join(map(str, rng.choice([2.0, 3.0, 4.0], 6))) for i in range(NUM_ESSAYS)]
    (folder / "train.csv").write_text("\n".join(rows) + "\n")
    return folder / "space.yaml", folder / "train.csv"


class _CountingDisplay:
    """Counts events, and passes them on to the display of a search whose output goes to a file."""

    def __init__(self, display: Display, readings: Readings) -> None:
        self._display = display
        self._readings = readings

    def running(self, plan: Plan, trials: Sequence[TrialRecord]) -> Any:
        return self._display.running(plan, trials)

    def changed(self, trial: TrialRecord, num_steps: int) -> None:
        self._display.changed(trial, num_steps)
        if trial.ended is not None:
            self._readings.count_end()
        elif trial.steps:
            self._readings.count_report()


def run_ours(folder: Path, trials: int, reports: int, marks: Sequence[int], sampler: str) -> Readings:
    """A search of so many trials, in all, of a study in `folder`."""
    space, train = write_inputs(folder, reports, sampler)
    with connected(None), open(folder / "output.txt", "a") as output:
        checked = check_request(SearchRequest(space, train, folder / "study", (), Budget(trials)))
        readings = Readings(marks)
        display = _CountingDisplay(PlainDisplay(Console(file=output)), readings)
        search(checked, resources(1.0, 0.0, None, joined=False), display)
    return readings


class _CountingCallback(tune.Callback):
    def __init__(self, readings: Readings) -> None:
        self._readings = readings

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: Mapping[str, Any], **info: Any) -> None:
        self._readings.count_report()

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        self._readings.count_end()


def run_plain(folder: Path, trials: int, reports: int, marks: Sequence[int], reuse_actors: bool) -> Readings:
    """`tune.Tuner` with its defaults, over as many searched numbers as our space has."""
    import trainables.regressor  # noqa: F401  # as our driver does

    def function(config: dict[str, Any]) -> None:
        import torch  # noqa: F401
        import transformers  # noqa: F401

        for step in range(1, reports + 1):
            tune.report({"score": 1 / step})

    ray.init(address="local", logging_level="ERROR", log_to_driver=False)
    readings = Readings(marks)
    searched = yaml.safe_load(SPACE.read_text())["search"]
    tune.Tuner(
        function,
        param_space={name: tune.uniform(0, 1) for name in searched},
        tune_config=tune.TuneConfig(num_samples=trials, reuse_actors=reuse_actors),
        run_config=tune.RunConfig(storage_path=str(folder), callbacks=[_CountingCallback(readings)]),
    ).fit()
    ray.shutdown()
    return readings
