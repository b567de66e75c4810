"""ell-tune's own search, as the engine drives it: `SearchSource` over an Optuna study in memory."""

import logging
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from math import inf, isfinite
from pathlib import Path
from typing import Any, cast

import optuna
from optuna.storages import InMemoryStorage, JournalStorage

from benchmarks.search.curves import CurveTable
from benchmarks.search.strategy import Params, Resume
from ell_tune.choosing.search_spec import SearchSpec, StudyConfig
from ell_tune.config import validate
from ell_tune.running.jobs import EndKind, Job, JobEnd
from ell_tune.runs.budget import Budget
from ell_tune.runs.search_source import SearchSource
from ell_tune.studies.study import Study, described, enqueue_config
from ell_tune.tracking import NullTracker
from ell_tune.trainable import Progress
from ell_tune.trials.progress import Plan
from ell_tune.trials.records import TrialRecord

_NO_LIMIT = 2**31


class _NoDisplay:
    def running(self, plan: Plan, trials: Sequence[TrialRecord]) -> Any:
        return nullcontext()

    def changed(self, trial: TrialRecord) -> None: ...


class OurSearch:
    """`settings` are those of the YAML's `study:` section."""

    def __init__(self, table: CurveTable, settings: Mapping[str, Any], seed: int) -> None:
        spec = replace(table.spec, study=validate(StudyConfig, {**settings, "seed": seed}))
        self.study = study_in_memory(spec)
        self._source = SearchSource(self.study, spec, Budget(_NO_LIMIT), 1.0, _NoDisplay(), NullTracker())
        self._space, self._num_steps = spec.space, table.num_steps
        self._jobs: list[Job] = []
        self._best: dict[int, float] = {}  # trial → its best score, of those that may lead
        self._leader: tuple[bool, float, int] | None = None  # not complete?, score, trial

    def suggest(self, trial: int) -> Params | Resume | None:
        job = self._source.next_job()
        if job is None:
            return None
        names = [known.name for known in self._jobs]
        if job.name in names:
            return Resume(names.index(job.name))
        self._jobs.append(job)
        return self._space.encode(job.config)

    def on_evaluation(self, trial: int, step: int, score: float, seconds: float) -> bool:
        goes_on = self._source.on_progress(self._jobs[trial], Progress(step, self._num_steps, score), seconds)
        if isfinite(score):
            self._best[trial] = min(score, self._best.get(trial, inf))
        else:
            self._best.pop(trial, None)
        return goes_on

    def on_completion(self, trial: int) -> None:
        self._source.on_end(self._jobs[trial], JobEnd(EndKind.COMPLETE, score=self._best[trial]))
        complete = (False, self._best[trial], trial)
        self._leader = complete if self._leader is None else min(self._leader, complete)

    def incumbent(self) -> int | None:
        """As `ell_tune.trials.ranking` has it: complete trials lead; before the first, every other one does."""
        if self._leader is not None:
            return self._leader[2]
        return min(self._best, key=lambda trial: (self._best[trial], trial), default=None)


def study_in_memory(spec: SearchSpec) -> Study:
    """A study whose journal is the process's memory: the same decisions, without a disk's time."""
    optuna.logging.set_verbosity(logging.WARNING)
    storage = InMemoryStorage()
    study = optuna.create_study(storage=storage, direction="minimize")
    for config in spec.enqueue:
        enqueue_config(study, spec.space, config)
    nowhere = Path(tempfile.gettempdir()) / "ell-tune-simulated-study"  # no checkpoint is ever written
    manifest: dict[str, Any] = {**described(spec), "artifacts": str(nowhere), "provenance": {}}
    return Study(nowhere, manifest, cast(JournalStorage, storage), study)
