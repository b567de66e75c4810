"""The peer: `tune.Tuner` as its documentation shows it, with a function that imports what a training imports."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray
import yaml
from ray import tune

from benchmarks.engine_overhead.readings import Readings

SPACE = Path(__file__).parents[2] / "search_spaces" / "deberta_v3_base.yaml"


def train_nothing(config: Mapping[str, Any], reports: int) -> None:
    import torch  # noqa: F401
    import transformers  # noqa: F401

    for step in range(1, reports + 1):
        tune.report({"score": 1 / step})


class _Counting(tune.Callback):
    def __init__(self, readings: Readings) -> None:
        self._readings = readings

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: Mapping[str, Any], **info: Any) -> None:
        self._readings.count_report()

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        self._readings.count_end()


def run(folder: Path, trials: int, reports: int, marks: list[int], reuse_actors: bool) -> None:
    """Runs Tune with its defaults but for `reuse_actors`, over as many searched fields as our space has."""
    import trainables.regressor  # noqa: F401  # as our driver does: its memory counts

    ray.init(address="local", logging_level=logging.ERROR, log_to_driver=False)
    readings = Readings(marks)
    searched = yaml.safe_load(SPACE.read_text())["search"]
    tune.Tuner(
        tune.with_parameters(train_nothing, reports=reports),
        param_space={name: tune.uniform(0, 1) for name in searched},
        tune_config=tune.TuneConfig(num_samples=trials, reuse_actors=reuse_actors),
        run_config=tune.RunConfig(storage_path=str(folder), callbacks=[_Counting(readings)]),
    ).fit()
    readings.write(folder / "readings.json")
    ray.shutdown()
