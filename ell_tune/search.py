"""`ell-tune search`: an adaptive sampler and early stopping choose the jobs, and the study records every event."""

import shutil
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from ell_tune.artifacts import ArtifactFolder, delete_checkpoints
from ell_tune.asha import Asha
from ell_tune.data import Essays, check_enough_for_folds, read_labelled
from ell_tune.engine import Resources, run_jobs
from ell_tune.errors import UserError
from ell_tune.folds import Folds, load_folds, make_folds
from ell_tune.jobs import Job, JobEnd
from ell_tune.progress import Display, Plan
from ell_tune.pseudo_labels import PseudoEssays, PseudoRequest, check_pseudo, check_same_pseudo
from ell_tune.records import StudyRecord, TrialRecord
from ell_tune.samplers import make_sampler
from ell_tune.search_spec import SearchSpec, load_search_spec
from ell_tune.study import (
    CONFIG,
    FAILURE,
    NUM_STEPS,
    SECONDS,
    Study,
    check_new_study,
    create_study,
    open_study,
    read_manifest,
    study_exists,
)
from ell_tune.study_lock import hold_study
from ell_tune.tracking import Tracker, make_tracker
from ell_tune.trainable import Progress
from ell_tune.worker import Workload

SEARCH_SECONDS = "search_seconds"  # user attribute of the Optuna study: wall time of all its searches


@dataclass(frozen=True)
class Budget:
    """When a search ends, counted over the whole study, whatever ran before."""

    num_trials: int
    seconds: float = inf


@dataclass
class _InFlight:
    """A trial that has a job."""

    trial: optuna.Trial
    curve: dict[int, float]  # step → score
    seconds: float
    num_steps: int = 0


class SearchSource:
    """The `JobSource` of a search. All that it knows is in the study, or is rebuilt from it here."""

    def __init__(self, study: Study, spec: SearchSpec, budget: Budget, display: Display, tracker: Tracker) -> None:
        self._study = study
        self._optuna = study.optuna_study
        self._spec = spec
        self._budget = budget
        self._display = display
        self._tracker = tracker
        self._seconds_before = self._optuna.user_attrs.get(SEARCH_SECONDS, 0.0)
        self._started_at = time.monotonic()
        self._asha = None if spec.study.scheduler is None else Asha(spec.study.scheduler)
        self._in_flight: dict[str, _InFlight] = {}  # by job name
        self._interrupted: deque[optuna.Trial] = deque()
        self._num_started = 0
        for frozen in self._optuna.get_trials(deepcopy=False):
            if frozen.state == TrialState.WAITING:
                continue
            self._num_started += 1
            if frozen.state == TrialState.RUNNING:
                self._interrupted.append(optuna.Trial(self._optuna, frozen._trial_id))
            self._enter_rungs(frozen)

    def _enter_rungs(self, frozen: FrozenTrial) -> None:
        best = inf
        for step, score in sorted(frozen.intermediate_values.items()):
            best = min(best, score)
            if self._asha is not None:
                self._asha.stops(frozen.number, step, frozen.user_attrs[NUM_STEPS], best)

    def next_job(self) -> Job | None:
        if self.seconds() >= self._budget.seconds:
            return None
        if self._interrupted:
            trial = self._interrupted.popleft()
        elif self._num_started < self._budget.num_trials:
            trial = self._ask()
        else:
            return None
        # For an enqueued or an interrupted trial, `suggest` returns the parameters that it has.
        suggested = self._spec.space.suggest(trial)
        if CONFIG not in trial.user_attrs:
            trial.set_user_attr(CONFIG, suggested)
        frozen = self._study.storage.get_trial(trial._trial_id)
        config, fold, seed = frozen.user_attrs[CONFIG], self._spec.study.fold, self._spec.study.seed
        job = Job(f"trial-{trial.number:04d}", config, fold, seed)
        self._in_flight[job.name] = _InFlight(
            trial, dict(frozen.intermediate_values), frozen.user_attrs.get(SECONDS, 0.0)
        )
        self._tracker.trial_started(trial.number, config)
        self._show(self._in_flight[job.name])
        return job

    def _ask(self) -> optuna.Trial:
        self._optuna.sampler = make_sampler(self._spec.study.sampler, self._spec.study.seed, self._num_started)
        self._num_started += 1
        return self._optuna.ask()

    def on_progress(self, job: Job, progress: Progress, seconds: float) -> bool:
        flight = self._in_flight[job.name]
        if progress.step not in flight.curve:
            self._write(flight, progress, seconds)
        if not isfinite(progress.score):
            self._fail(job, f"diverged: the score of evaluation {progress.step} is {progress.score}")
            return False
        best = min(score for step, score in flight.curve.items() if step <= progress.step)
        if self._asha is not None and self._asha.stops(flight.trial.number, progress.step, progress.num_steps, best):
            self._tell(job, TrialState.PRUNED)
            return False
        return self.seconds() < self._budget.seconds

    def _write(self, flight: _InFlight, progress: Progress, seconds: float) -> None:
        if flight.num_steps != progress.num_steps:
            flight.num_steps = progress.num_steps
            flight.trial.set_user_attr(NUM_STEPS, progress.num_steps)
        flight.seconds += seconds
        flight.trial.set_user_attr(SECONDS, flight.seconds)
        score = progress.score if isfinite(progress.score) else inf
        flight.curve[progress.step] = score
        flight.trial.report(score, progress.step)
        self._tracker.trial_reported(flight.trial.number, progress.step, {"score": progress.score, **progress.metrics})
        self._show(flight)

    def on_end(self, job: Job, end: JobEnd) -> None:
        if end.failure is None:
            self._tell(job, TrialState.COMPLETE, end.score)
        else:
            self._fail(job, end.failure)

    def _fail(self, job: Job, reason: str) -> None:
        # Told as pruned: TPE ignores failed trials and would suggest such a config again, but ranks a pruned
        # trial below every complete one.
        self._in_flight[job.name].trial.set_user_attr(FAILURE, reason)
        self._tell(job, TrialState.PRUNED)

    def _tell(self, job: Job, state: TrialState, score: float | None = None) -> None:
        flight = self._in_flight.pop(job.name)
        self._optuna.tell(flight.trial, score, state=state)
        delete_checkpoints(ArtifactFolder(self._study.artifacts, job.name))
        self.note_time()
        ended = self._show(flight)
        self._tracker.trial_ended(ended.number, ended.state, ended.score)

    def _show(self, flight: _InFlight) -> TrialRecord:
        record = self._study.trial(flight.trial._trial_id)
        self._display.changed(record, flight.num_steps)
        return record

    def note_time(self) -> None:
        """Writes the wall time that all searches of the study took so far."""
        self._optuna.set_user_attr(SEARCH_SECONDS, self.seconds())

    def rungs(self, num_steps: int) -> tuple[int, ...]:
        """The steps at which trials of so many evaluations are compared."""
        return () if self._asha is None or num_steps == 0 else self._asha.rungs(num_steps)

    def seconds(self) -> float:
        """Wall time of all searches of the study."""
        return float(self._seconds_before + time.monotonic() - self._started_at)


@dataclass(frozen=True)
class SearchRequest:
    """What the user asked for."""

    space_path: Path
    train_path: Path
    study_dir: Path
    settings: Sequence[str]
    budget: Budget
    pseudo: PseudoRequest | None = None


@dataclass(frozen=True)
class CheckedSearch:
    """A request whose space, essays and study have been found to fit together."""

    request: SearchRequest
    spec: SearchSpec
    essays: Essays
    folds: Folds
    pseudo: PseudoEssays | None


def check_request(request: SearchRequest) -> CheckedSearch:
    """Reads the space and the essays, and makes sure that the study, if there is one, is of both.

    Raises:
        UserError: something is wrong with one of them, or with what pseudo-labels are to be made of.
    """
    spec = load_search_spec(request.space_path, request.settings)
    essays = read_labelled(request.train_path, spec.data)
    check_enough_for_folds(essays, request.train_path, spec.study.num_folds)
    goes_on = study_exists(request.study_dir)
    if goes_on:
        manifest = read_manifest(request.study_dir)
        _check_same_search(manifest, spec, essays, request)
        folds = load_folds(request.study_dir / "folds.csv", essays)
    else:
        check_new_study(request.study_dir)
        folds = make_folds(essays, spec.study.num_folds, spec.study.seed)
    pseudo = None
    if request.pseudo is not None:
        pseudo = check_pseudo(request.pseudo, essays, folds, spec.data, [spec.study.fold])
    if goes_on:
        check_same_pseudo(manifest["provenance"].get("pseudo"), pseudo, request.study_dir)
    return CheckedSearch(request, spec, essays, folds, pseudo)


def finished_record(checked: CheckedSearch) -> StudyRecord | None:
    """The study as it is, where it has all the trials asked for and each has ended: nothing is left to search."""
    request = checked.request
    if not study_exists(request.study_dir):
        return None
    record = open_study(request.study_dir).record()
    is_finished = len(record.trials) >= request.budget.num_trials and all(trial.ended for trial in record.trials)
    return record if is_finished else None


def search(checked: CheckedSearch, resources: Resources, display: Display) -> Study:
    """Starts a study or goes on with it, on the Ray cluster that this process is connected to.

    Raises:
        UserError: the trainable refuses what the user gave it (a study that was new is gone again, if no trial had got
            anywhere), or another process holds the study.
        Interrupted: by Ctrl-C or SIGTERM; the same call goes on.
        TrainableBug: see `ell_tune.engine.run_jobs`.
    """
    study_dir = checked.request.study_dir
    is_new = not study_exists(study_dir)
    if is_new:
        create_study(study_dir, checked.spec, checked.essays, checked.folds, checked.pseudo)
    with hold_study(study_dir):
        study = open_study(study_dir, writes=True)
        try:
            _run(checked, study, resources, display)
        except UserError:
            if is_new and not any(trial.steps for trial in study.record().trials):
                shutil.rmtree(study_dir)  # of no use, and the corrected command would be refused for it
            raise
    return study


def _run(checked: CheckedSearch, study: Study, resources: Resources, display: Display) -> None:
    request, spec = checked.request, checked.spec
    workload, texts = _workload(checked, study)
    tracker = make_tracker(spec.tracking, study.name, request.study_dir / "tracking")
    source = SearchSource(study, spec, request.budget, display, tracker)
    seconds_left = request.budget.seconds - source.seconds()
    trials = study.record().trials
    # Of fewer trials than the study has, those interrupted still go on to their end.
    num_trials = max(request.budget.num_trials, len(trials))
    plan = Plan("search", "trial", num_trials, seconds_left, source.rungs)
    try:
        with display.running(plan, trials):
            run_jobs(source, workload, texts, resources)
    finally:
        source.note_time()
        tracker.close()


def _workload(checked: CheckedSearch, study: Study) -> tuple[Workload, tuple[str, ...]]:
    """What the trials share, and the texts of all their essays."""
    spec, texts, pseudo_labels = checked.spec, checked.essays.texts, None
    if checked.pseudo is not None:
        texts, pseudo_labels = texts + checked.pseudo.essays.texts, checked.pseudo.labels(study.study_dir)
    name, data, essays, folds = spec.trainable_name, spec.data, checked.essays, checked.folds
    workload = Workload.of(name, data, essays, folds, study.artifacts, keeps_weights=False, pseudo_labels=pseudo_labels)
    return workload, texts


def _check_same_search(remembered: Mapping[str, Any], spec: SearchSpec, essays: Essays, request: SearchRequest) -> None:
    if remembered["provenance"]["data_sha256"] != essays.fingerprint:
        raise UserError(
            f"{request.train_path}: a study goes on with the essays that it began with, but these differ from those "
            f"of {request.study_dir} (sha256 {essays.fingerprint[:12]}, not "
            f"{remembered['provenance']['data_sha256'][:12]}). Give the first file, or another --study."
        )
    if remembered["document"] != spec.document:
        sections = sorted(
            section
            for section in {*remembered["document"], *spec.document}
            if remembered["document"].get(section) != spec.document.get(section)
        )
        raise UserError(
            f"{request.space_path}: a study goes on with the space that it began with, but the sections "
            f"{', '.join(sections)} differ from those of {request.study_dir}. Give the same file and --set options, "
            f"or another --study."
        )
