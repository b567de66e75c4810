"""Small studies on disk for the tests: a space over the fake trainable, a few essays, a source."""

from pathlib import Path
from typing import Any

import numpy as np
import yaml
from rich.console import Console

from ell_tune.choosing.search_spec import SearchSpec, load_search_spec
from ell_tune.essays.data import Essays
from ell_tune.essays.folds import make_folds
from ell_tune.runs.budget import Budget
from ell_tune.runs.search_source import SearchSource
from ell_tune.studies.manifest import study_exists
from ell_tune.studies.study import Study, create_study, open_study
from ell_tune.tracking import NullTracker, Tracker
from ell_tune.trials.progress import PlainDisplay

DEVICES_PER_TRIAL = 0.5
SPACE: dict[str, Any] = {
    "trainable": "fake_trainable",
    "study": {"num_folds": 2, "sampler": {"name": "tpe", "num_startup_trials": 4}},
    "search": {
        "x": {"float": [-10.0, 10.0]},
        "y": {"int": [0, 5]},
        "shape": {"choice": [{"name": "plain"}, {"name": "curved", "power": {"float": [1.0, 3.0]}}]},
        "bonus": {"choice": [False, {"amount": {"float": [0.0, 1.0]}}]},
    },
    "enqueue": [{"x": 2.5, "y": 2}],
}


def write_space(path: Path, **changes: Any) -> Path:
    """The space as a file, with some sections replaced."""
    path.write_text(yaml.safe_dump({**SPACE, **changes}, sort_keys=False))
    return path


def essays(num_essays: int = 20) -> Essays:
    """Essays with six scores each."""
    rng = np.random.default_rng(0)
    labels_NC = rng.choice([2.0, 2.5, 3.0, 3.5, 4.0], size=(num_essays, 6)).astype(np.float32)
    ids = tuple(f"ID{index:04d}" for index in range(num_essays))
    return Essays(ids, tuple(f"Essay {index} about things." for index in range(num_essays)), labels_NC)


def make_study(folder: Path, **changes: Any) -> tuple[Study, SearchSpec]:
    """The study in `folder`, made if it is not there yet."""
    spec = load_search_spec(write_space(folder.with_suffix(".yaml"), **changes))
    if not study_exists(folder):
        create_study(folder, spec, essays(), make_folds(essays(), spec.study.num_folds, spec.study.seed))
    return open_study(folder, writes=True), spec


def make_source(
    folder: Path, budget: Budget, tracker: Tracker | None = None, **changes: Any
) -> tuple[SearchSource, Study]:
    """A source over the study in `folder`."""
    study, spec = make_study(folder, **changes)
    display = PlainDisplay(Console(quiet=True))
    return SearchSource(study, spec, budget, DEVICES_PER_TRIAL, display, tracker or NullTracker()), study


def enqueue_again(study: Study, number: int) -> None:
    """Lets the config of a waiting trial wait a second time, as no verb of ours would."""
    trial = study.optuna_study.get_trials()[number]
    study.optuna_study.enqueue_trial(trial.system_attrs["fixed_params"], user_attrs=trial.user_attrs)
