"""`ell-tune retrain`: the given configs on every fold, as jobs on the engine that searched them.

A job that is done stays done: the same command after an interruption trains only what is missing.
"""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ell_tune.errors import UserError
from ell_tune.essays.data import Essays, check_enough_for_folds, read_labelled, write_scores
from ell_tune.essays.folds import Folds, load_folds, make_folds, save_folds
from ell_tune.essays.metrics import mcrmse, rmse_per_target
from ell_tune.files.artifacts import RESULT_ITEM, WEIGHTS_ITEM, ArtifactFolder
from ell_tune.files.atomic import make_folder
from ell_tune.models.model_folder import Member, Model, save_model
from ell_tune.models.pseudo_labels import PseudoEssays, PseudoRequest, check_pseudo
from ell_tune.running.engine import Resources, run_jobs
from ell_tune.running.jobs import EndKind, Job, JobEnd
from ell_tune.running.worker import Workload
from ell_tune.studies.export import ExportedConfig, load_exported
from ell_tune.studies.provenance import provenance
from ell_tune.trainable import Progress
from ell_tune.trials.progress import Display, Plan
from ell_tune.trials.records import TrialRecord, TrialState


class FixedSource:
    """A `JobSource` with a fixed list of jobs, none of which is stopped early."""

    def __init__(self, jobs: Sequence[Job], display: Display) -> None:
        self._jobs = list(jobs)
        self._next = 0
        self._display = display
        self._seconds = [0.0] * len(jobs)
        self._curves: list[dict[int, float]] = [{} for _ in jobs]
        self._num_steps = 0
        self.failures: dict[str, str] = {}  # job name → reason

    def next_job(self) -> Job | None:
        if self._next == len(self._jobs):
            return None
        self._next += 1
        self._show(self._jobs[self._next - 1], TrialState.RUNNING)
        return self._jobs[self._next - 1]

    def on_progress(self, job: Job, progress: Progress, seconds: float) -> bool:
        index = self._jobs.index(job)
        self._seconds[index] += seconds
        self._curves[index][progress.step] = progress.score
        self._num_steps = progress.num_steps
        self._show(job, TrialState.RUNNING)
        return True

    def on_end(self, job: Job, end: JobEnd) -> None:
        if end.kind == EndKind.COMPLETE:
            self._show(job, TrialState.COMPLETE)
        else:
            self.failures[job.name] = str(end.message)
            self._show(job, TrialState.FAILED)

    def _show(self, job: Job, state: TrialState) -> None:
        index = self._jobs.index(job)
        curve = self._curves[index]
        record = TrialRecord(
            number=index,
            state=state,
            score=min(curve.values(), default=None),
            steps=max(curve, default=0),
            num_steps=self._num_steps,
            seconds=self._seconds[index],
            device_seconds=0.0,
            measures={},
            curve=curve,
            config=job.config,
            params={"member": job.name},
            reason=self.failures.get(job.name),
            started=datetime.now(UTC),
            ended=None,
        )
        self._display.changed(record)


@dataclass(frozen=True)
class Retraining:
    """Configs, essays and folds that have been found to fit together."""

    config_paths: tuple[Path, ...]
    configs: tuple[ExportedConfig, ...]
    essays: Essays
    folds: Folds
    pseudo: PseudoEssays | None
    model_dir: Path

    @property
    def common(self) -> ExportedConfig:
        """A config to read from what all of them share."""
        return self.configs[0]

    @property
    def artifacts(self) -> str:
        """The root of the members' artifact folders."""
        return self.common.artifacts or str((self.model_dir / "members").resolve())


def prepare_retraining(
    config_paths: Sequence[Path],
    train_path: Path,
    model_dir: Path,
    num_folds: int,
    pseudo_request: PseudoRequest | None = None,
) -> Retraining:
    """Reads the configs and the essays, and makes the folds.

    Raises:
        UserError: something wrong with a config, the essays, the folder or what pseudo-labels are to be made of.
    """
    configs = [load_exported(path) for path in config_paths]
    first = configs[0]
    for path, other in zip(config_paths, configs, strict=True):
        if (other.data, other.trainable_name, other.seed) != (first.data, first.trainable_name, first.seed):
            raise UserError(
                f"{path}: the configs of one model must agree on trainable, data and seed, but this one differs from "
                f"{config_paths[0]}. Retrain them into model folders of their own."
            )
    essays = read_labelled(train_path, first.data)
    check_enough_for_folds(essays, train_path, num_folds)
    folds = make_folds(essays, num_folds, first.seed)
    _check_model_dir(model_dir, essays, folds)
    pseudo = None
    if pseudo_request is not None:
        _check_two_models(pseudo_request.model_dir, model_dir)
        pseudo = check_pseudo(pseudo_request, essays, folds, first.data, range(num_folds))
    return Retraining(tuple(config_paths), tuple(configs), essays, folds, pseudo, model_dir)


def retrain(plan: Retraining, resources: Resources, display: Display) -> Model:
    """Trains every config without every fold, and writes a model folder.

    Raises:
        UserError: a config that cannot be trained.
        Interrupted: by Ctrl-C or SIGTERM; the same call goes on.
        TrainableBug: see `ell_tune.running.engine.run_jobs`.
    """
    make_folder(plan.model_dir / "members")
    (plan.model_dir / "model.json").unlink(missing_ok=True)
    save_folds(plan.model_dir / "folds.csv", plan.essays, plan.folds)
    jobs = _jobs(plan)
    missing = [job for job in jobs if RESULT_ITEM not in ArtifactFolder(plan.artifacts, job.name).names()]
    source = FixedSource(missing, display)
    if missing:
        _run(plan, source, len(missing), resources, display)
    if source.failures:
        name, reason = next(iter(source.failures.items()))
        raise UserError(f"{plan.model_dir}: every member must train to its end, but {name} did not: {reason}.")
    return _assemble(plan, jobs)


def _run(plan: Retraining, source: FixedSource, num_jobs: int, resources: Resources, display: Display) -> None:
    texts, pseudo_labels = plan.essays.texts, None
    if plan.pseudo is not None:
        texts, pseudo_labels = texts + plan.pseudo.essays.texts, plan.pseudo.labels(plan.model_dir)
    name, data = plan.common.trainable_name, plan.common.data
    workload = Workload.of(
        name, data, plan.essays, plan.folds, plan.artifacts, keeps_weights=True, pseudo_labels=pseudo_labels
    )
    with display.running(Plan("retrain", "member", num_jobs), []):
        run_jobs(source, workload, texts, resources)


def _check_model_dir(model_dir: Path, essays: Essays, folds: Folds) -> None:
    is_free = not model_dir.exists() or (model_dir.is_dir() and not any(model_dir.iterdir()))
    if not is_free and not (model_dir / "folds.csv").is_file():
        raise UserError(
            f"{model_dir}: a model needs a folder that is empty, not there yet, or a model folder, but this one holds "
            f"other things. Give another --out."
        )
    if not is_free and not _has_folds(model_dir / "folds.csv", essays, folds):
        raise UserError(
            f"{model_dir}: a retraining goes on with the essays and the folds that it began with, but the folder is "
            f"that of others. Give its own --train and --folds, or another --out."
        )


def _has_folds(path: Path, essays: Essays, folds: Folds) -> bool:
    try:
        return load_folds(path, essays).fingerprint == folds.fingerprint
    except UserError:  # of other essays
        return False


def _check_two_models(pseudo_model_dir: Path, model_dir: Path) -> None:
    if pseudo_model_dir.resolve() == model_dir.resolve():
        raise UserError(
            f"--out: the new model needs a folder of its own, but {model_dir} is also the --pseudo-model, which would "
            f"be overwritten. Give another --out."
        )


def _jobs(plan: Retraining) -> list[Job]:
    """Every config on every fold. A job's name holds a hash of all that its result depends on."""
    jobs = []
    for index, item in enumerate(plan.configs):
        config = item.config.model_dump()
        identity = [config, item.seed, plan.essays.fingerprint, plan.folds.fingerprint]
        identity += [] if plan.pseudo is None else [plan.pseudo.fingerprint]
        digest = sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:8]
        jobs += [Job(f"{index:02d}-{digest}-fold{k}", config, k, item.seed) for k in range(plan.folds.num_folds)]
    return jobs


def _assemble(plan: Retraining, jobs: Sequence[Job]) -> Model:
    assert plan.essays.labels_NC is not None
    data = plan.common.data
    oof_NC = np.zeros(plan.essays.labels_NC.shape)
    members = []
    with tempfile.TemporaryDirectory(prefix="ell-tune-") as scratch:
        for index, job in enumerate(jobs):
            folder = ArtifactFolder(plan.artifacts, job.name)
            result_dir = folder.fetch(RESULT_ITEM, Path(scratch))
            with np.load(result_dir / "oof.npz") as arrays:
                oof_NC[arrays["rows"]] += arrays["predictions"] / len(plan.configs)
            score = json.loads((result_dir / "result.json").read_text())["score"]
            config_name = plan.config_paths[index // plan.folds.num_folds].name
            members.append(Member(job.name, config_name, plan.common.trainable_name, job.fold, score))
            folder.fetch(WEIGHTS_ITEM, plan.model_dir / "members" / job.name)
    oof_NC = np.clip(oof_NC, data.min_score, data.max_score)
    write_scores(plan.model_dir / "oof.csv", plan.essays.ids, oof_NC, data)
    cv = cross_validated(plan.essays.labels_NC, oof_NC, plan.folds, data.targets)
    model = Model(
        data=data,
        members=tuple(members),
        cv=cv,
        provenance={
            **provenance(),
            "essays": len(plan.essays),
            "data_sha256": plan.essays.fingerprint,
            "pseudo": None if plan.pseudo is None else plan.pseudo.provenance,
            "seed": plan.common.seed,
        },
    )
    save_model(plan.model_dir, model)
    return model


def cross_validated(
    labels_NC: NDArray[np.float32], oof_NC: NDArray[np.float64], folds: Folds, targets: Sequence[str]
) -> dict[str, Any]:
    """The out-of-fold score, RMSE per target, score of each fold, and the folds' standard deviation."""
    fold_scores = [
        mcrmse(labels_NC[folds.valid_rows(fold)], oof_NC[folds.valid_rows(fold)]) for fold in range(folds.num_folds)
    ]
    rmse_C = rmse_per_target(labels_NC, oof_NC)
    return {
        "score": mcrmse(labels_NC, oof_NC),
        "rmse": {target: float(rmse) for target, rmse in zip(targets, rmse_C, strict=True)},
        "fold_scores": fold_scores,
        "fold_sd": float(np.std(fold_scores, ddof=1)),
    }
