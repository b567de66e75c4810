"""`ell-tune search`: checks what the user gave, makes the study or opens it, and runs its jobs."""

import shutil
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ell_tune.choosing.search_spec import SearchSpec, load_search_spec
from ell_tune.errors import UserError
from ell_tune.essays.data import Essays, check_enough_for_folds, read_labelled
from ell_tune.essays.folds import Folds, load_folds, make_folds
from ell_tune.models.pseudo_labels import PseudoEssays, PseudoRequest, check_pseudo, check_same_pseudo
from ell_tune.running.engine import Resources, run_jobs
from ell_tune.running.worker import Workload
from ell_tune.runs.budget import Budget
from ell_tune.runs.disk_budget import KeptWeights
from ell_tune.runs.search_source import SearchSource
from ell_tune.studies.journal import damaged
from ell_tune.studies.manifest import study_exists
from ell_tune.studies.study import Study, check_new_study, create_study, open_study
from ell_tune.studies.study_edit import SpaceEdit, apply, compare
from ell_tune.studies.study_lock import check_not_held, hold_study
from ell_tune.tracking import make_tracker
from ell_tune.trials.progress import Display, Plan
from ell_tune.trials.records import StudyRecord


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
    study: Study | None  # as it was found; None where a new one is to be made
    edit: SpaceEdit | None  # what the space changes in the study, if that has another


def check_request(request: SearchRequest) -> CheckedSearch:
    """Reads the space and the essays, and makes sure that the study, if there is one, is of both.

    Raises:
        UserError: something is wrong with one of them, or with what pseudo-labels are to be made of, or another
            process holds the study.
    """
    if study_exists(request.study_dir):
        check_not_held(request.study_dir)
    spec = load_search_spec(request.space_path, request.settings)
    essays = read_labelled(request.train_path, spec.data)
    check_enough_for_folds(essays, request.train_path, spec.study.num_folds)
    study = open_study(request.study_dir) if study_exists(request.study_dir) else None
    edit = None
    if study is not None:
        _check_same_essays(study.manifest, essays, request)
        edit = compare(study, spec, request.space_path)
        folds = load_folds(study.folds_path, essays)
        if folds.fingerprint != study.manifest["provenance"]["folds_sha256"]:
            raise damaged(study.folds_path, "the folds are not those that its trials were scored on")
    else:
        check_new_study(request.study_dir)
        folds = make_folds(essays, spec.study.num_folds, spec.study.seed)
    pseudo = None
    if request.pseudo is not None:
        pseudo = check_pseudo(request.pseudo, essays, folds, spec.data, [spec.study.fold])
    if study is not None:
        check_same_pseudo(study.manifest["provenance"].get("pseudo"), pseudo, request.study_dir)
    return CheckedSearch(request, spec, essays, folds, pseudo, study, edit)


def finished_record(checked: CheckedSearch) -> StudyRecord | None:
    """The study as it is, where it has all the trials asked for and each has ended: nothing is left to search."""
    if checked.study is None or checked.edit is not None:
        return None
    record, num_trials = checked.study.record(), checked.request.budget.num_trials
    is_finished = len(record.trials) >= num_trials and all(trial.ended for trial in record.trials)
    return record if is_finished else None


def fit_to_disk(checked: CheckedSearch) -> str | None:
    """Lets weights go where an existing study has more of them than its disk budget allows now, and says so.

    Raises:
        UserError: another process holds the study.
    """
    study, disk_bytes = checked.study, checked.request.budget.disk_bytes
    if study is None or disk_bytes is None:
        return None
    with hold_study(study.study_dir):
        kept = KeptWeights(study.artifacts, disk_bytes, study.record().trials)
    if kept.is_over:
        return (
            f"--disk-budget: {study.name} takes more than that without the weights of any trial, so none are kept. "
            f"Checkpoints go when their trials end."
        )
    if kept.num_dropped:
        return f"--disk-budget: trials that have lost their weights to fit it: {kept.num_dropped}."
    return None


@dataclass(frozen=True)
class SearchEnd:
    """How a search ended."""

    record: StudyRecord
    why: str | None  # what ended it before all of its trials had ended


def search(checked: CheckedSearch, resources: Resources, display: Display) -> SearchEnd:
    """Starts a study or goes on with it, on the Ray cluster that this process is connected to.

    Raises:
        UserError: the trainable refuses what the user gave it (a study that was new is gone again, if no trial had got
            anywhere), or another process holds the study.
        Interrupted: by Ctrl-C or SIGTERM; the same call goes on.
        TrainableBug: see `ell_tune.running.engine.run_jobs`.
    """
    study_dir = checked.request.study_dir
    is_new = checked.study is None
    if is_new and study_exists(study_dir):
        check_not_held(study_dir)
        raise _changed(study_dir)
    if is_new:
        create_study(study_dir, checked.spec, checked.essays, checked.folds, checked.pseudo)
    with hold_study(study_dir, num_trials=checked.request.budget.num_trials):
        study = open_study(study_dir, writes=True)
        if not is_new:
            _check_unchanged(checked, study)
        if checked.edit is not None:
            study = apply(study, checked.spec, checked.edit)
        try:
            why_ended = _run(checked, study, resources, display)
        except UserError:
            if is_new and not any(trial.steps for trial in study.record().trials):
                shutil.rmtree(study_dir)  # of no use, and the corrected command would be refused for it
            raise
    return SearchEnd(study.record(), why_ended)


def _check_unchanged(checked: CheckedSearch, study: Study) -> None:
    """Refuses a study that another search has edited since it was checked: Ray's start lies in between."""
    if compare(study, checked.spec, checked.request.space_path) != checked.edit:
        raise _changed(checked.request.study_dir)


def _changed(study_dir: Path) -> UserError:
    return UserError(
        f"{study_dir}: a search goes on with a study as it found it, but another one has made it, edited its space or "
        f"tried more of it since then. Run the same command again."
    )


def _run(checked: CheckedSearch, study: Study, resources: Resources, display: Display) -> str | None:
    request, spec = checked.request, checked.spec
    workload, texts = _workload(checked, study)
    tracker = make_tracker(spec.tracking, study.name, request.study_dir / "tracking")
    with closing(tracker):
        source = SearchSource(study, spec, request.budget, resources.devices_per_trial, display, tracker)
        trials = study.record().trials
        # Of fewer trials than the study has, those interrupted still go on to their end.
        num_trials = max(request.budget.num_trials, len(trials))
        plan = Plan("search", "trial", num_trials, source.meter.seconds_left, source.rungs)
        with display.running(plan, trials):
            run_jobs(source, workload, texts, resources)
    return source.why_ended()


def _workload(checked: CheckedSearch, study: Study) -> tuple[Workload, tuple[str, ...]]:
    """What the trials share, and the texts of all their essays."""
    spec, texts, pseudo_labels = checked.spec, checked.essays.texts, None
    if checked.pseudo is not None:
        texts, pseudo_labels = texts + checked.pseudo.essays.texts, checked.pseudo.labels(study.study_dir)
    name, data, essays, folds = spec.trainable_name, spec.data, checked.essays, checked.folds
    keeps_weights = checked.request.budget.disk_bytes is not None
    workload = Workload.of(name, data, essays, folds, study.artifacts, keeps_weights, pseudo_labels)
    return workload, texts


def _check_same_essays(manifest: Mapping[str, Any], essays: Essays, request: SearchRequest) -> None:
    remembered = manifest["provenance"]["data_sha256"]
    if remembered != essays.fingerprint:
        raise UserError(
            f"{request.train_path}: a study goes on with the essays that it began with, but these differ from those "
            f"of {request.study_dir} (sha256 {essays.fingerprint[:12]}, not {remembered[:12]}). Give the first file, "
            f"or another --study."
        )
