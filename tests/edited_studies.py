"""Studies whose space file is edited, for the tests; they run without Ray."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
from plain_engine import run_all
from studies import SPACE, make_source, write_space

from ell_tune.choosing.search_spec import load_search_spec
from ell_tune.running.jobs import EndKind, Job, JobEnd
from ell_tune.runs.budget import Budget
from ell_tune.runs.search_source import SearchSource
from ell_tune.studies.study import Study, open_study
from ell_tune.studies.study_edit import SpaceEdit, apply, compare
from ell_tune.trainable import Progress
from ell_tune.trials.records import TrialRecord

Told = optuna.trial.TrialState
TRIED: dict[str, Any] = {"enqueue": [{"x": 8.0, "y": 1}, {"x": 1.0, "y": 2}]}
NARROW: dict[str, Any] = {**TRIED, "search": {**SPACE["search"], "x": {"float": [-5.0, 5.0]}}, "enqueue": []}


def searched(folder: Path) -> Study:
    """Trial 0 (x = 0) and 2 (x = 1) complete; trial 1 (x = 8) is stopped at the rung of step 2."""
    source, study = make_source(folder, Budget(num_trials=3), **TRIED)
    run_all(source, folder.parent / "artifacts")
    assert [trial.state for trial in study.record().trials] == ["complete", "stopped", "complete"]
    return study


def edit(study: Study, /, **changes: Any) -> tuple[Study, SpaceEdit]:
    """The study after its space file was edited."""
    path = write_space(study.study_dir.with_suffix(".yaml"), **changes)
    spec = load_search_spec(path)
    found = compare(study, spec, path)
    assert found is not None
    return apply(open_study(study.study_dir, writes=True), spec, found), found


def resume(study: Study, num_trials: int, /, **changes: Any) -> tuple[SearchSource, Study]:
    return make_source(study.study_dir, Budget(num_trials), **changes)


def with_misfits(trials: Sequence[TrialRecord], *numbers: int) -> tuple[TrialRecord, ...]:
    return tuple(replace(trial, is_misfit=trial.number in numbers) for trial in trials)


def told(study: Study) -> list[tuple[Told, float | None]]:
    """What the sampler knows of each trial."""
    return [(trial.state, trial.value) for trial in study.optuna_study.get_trials()]


def next_job(source: SearchSource) -> Job:
    job = source.next_job()
    assert job is not None
    return job


def complete(source: SearchSource, job: Job, scores: list[float], measures: dict[str, float] | None = None) -> None:
    """Reports whole curves of a job that nothing stops."""
    for step, score in enumerate(scores, start=1):
        assert source.on_progress(job, Progress(step, len(scores), score, measures or {}), seconds=1)
    source.on_end(job, JobEnd(EndKind.COMPLETE))
