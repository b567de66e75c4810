"""A study: a folder that is the record of a search.

    study.json     what is searched on which data: the space file, the base config, provenance
    folds.csv      which essay is in which fold
    journal.log    Optuna's journal: every trial's config, scores, cost, state; written at each event
    trials/NAME/   what each trial leaves (elsewhere where `study.artifacts` says so)

Everything else (rungs, leaderboard, what to resume) is derived from these.
"""

import json
import logging
import secrets
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from math import isfinite
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.trial import FrozenTrial

from ell_tune.choosing.samplers import sampled_cost
from ell_tune.choosing.schedulers import make_scheduler
from ell_tune.choosing.search_spec import SearchSpec, StudyConfig
from ell_tune.config import validate
from ell_tune.dotted import differences, with_differences
from ell_tune.errors import UserError
from ell_tune.essays.data import Essays
from ell_tune.essays.folds import Folds, save_folds
from ell_tune.files.artifacts import ArtifactFolder
from ell_tune.files.atomic import whole_folder
from ell_tune.models.pseudo_labels import PseudoEssays
from ell_tune.spaces.space import Space
from ell_tune.studies.journal import damaged, drop_torn_line, open_journal
from ell_tune.studies.manifest import manifest_path, read_manifest, write_manifest
from ell_tune.studies.provenance import provenance
from ell_tune.trainable import MEASURES
from ell_tune.trials.costs import schedule_seconds
from ell_tune.trials.records import StudyRecord, TrialRecord, TrialState
from ell_tune.trials.trial_attributes import CONFIG, DUPLICATE_OF, EDIT_MADE, MISFIT, OUTCOME, REASON, USAGE


@dataclass(frozen=True)
class Study:
    """An open study."""

    study_dir: Path
    manifest: Mapping[str, Any]  # study.json
    storage: JournalStorage
    optuna_study: optuna.Study

    @property
    def name(self) -> str:
        return self.study_dir.resolve().name

    @property
    def folds_path(self) -> Path:
        return self.study_dir / "folds.csv"

    @property
    def artifacts(self) -> str:
        """The root of the trials' artifact folders."""
        return self.manifest["artifacts"] or str((self.study_dir / "trials").resolve())

    @property
    def base(self) -> Mapping[str, Any]:
        """The whole config that trials differ from."""
        base: Mapping[str, Any] = self.manifest["base"]
        return base

    def config(self, trial: FrozenTrial | optuna.Trial) -> dict[str, Any]:
        """A trial's whole config."""
        return with_differences(self.base, trial.user_attrs[CONFIG])

    def artifact_folder(self, trial_number: int) -> ArtifactFolder:
        return ArtifactFolder(self.artifacts, job_name(trial_number))

    def trial(self, trial_id: int) -> TrialRecord:
        """One trial, by Optuna's id."""
        return self._trial_record(self.storage.get_trial(trial_id))

    def record(self) -> StudyRecord:
        """What the journal says now."""
        frozen = self.optuna_study.get_trials(deepcopy=False)
        trials = [self._trial_record(trial) for trial in frozen if was_started(trial) and CONFIG in trial.user_attrs]
        num_steps = max((trial.num_steps for trial in trials), default=0)
        config = validate(StudyConfig, self.manifest["study"])
        return StudyRecord(
            name=self.name,
            trials=tuple(trials),
            searched=tuple(self.manifest["searched"]),
            num_steps=num_steps,
            rungs=make_scheduler(config.scheduler, config.seed).rungs(num_steps),
            provenance=self.manifest["provenance"],
            num_waiting=sum(trial.state == optuna.trial.TrialState.WAITING for trial in frozen),
            search_seconds=max(
                (trial.user_attrs[USAGE]["search_seconds"] for trial in frozen if USAGE in trial.user_attrs),
                default=0.0,
            ),
            cost=sampled_cost(config.sampler),
        )

    def _trial_record(self, trial: FrozenTrial) -> TrialRecord:
        usage = trial.user_attrs.get(USAGE, {})
        curve = dict(sorted(trial.intermediate_values.items()))
        is_under_way = trial.state == optuna.trial.TrialState.RUNNING
        if trial.datetime_start is None:
            raise damaged(self.study_dir / "journal.log", f"the line that starts trial {trial.number} is gone")
        return TrialRecord(
            number=trial.number,
            state=TrialState.RUNNING if is_under_way else TrialState(trial.user_attrs[OUTCOME]),
            score=min((score for score in curve.values() if isfinite(score)), default=None),
            steps=max(curve, default=0),
            num_steps=usage.get("num_steps", 0),
            seconds=usage.get("seconds", 0.0),
            schedule_seconds=schedule_seconds(usage, curve),
            device_seconds=usage.get("device_seconds", 0.0),
            measures={name: usage[name] for name in MEASURES if name in usage},
            curve=curve,
            config=self.config(trial),
            params=trial.user_attrs.get(MISFIT, {}).get("params", trial.params),
            is_misfit=MISFIT in trial.user_attrs,
            reason=trial.user_attrs.get(REASON),
            started=trial.datetime_start,
            ended=trial.datetime_complete,
        )


def job_name(trial_number: int) -> str:
    """The name of a trial's job, and of its artifact folder."""
    return f"trial-{trial_number:04d}"


def config_key(changes: Mapping[str, Any]) -> bytes:
    """What two configs share only if they are the same; `changes` are their differences from the base config."""
    return blake2b(json.dumps(changes, sort_keys=True).encode(), digest_size=12).digest()


def was_started(trial: FrozenTrial) -> bool:
    """Whether a search has started the trial, and had not run the same config before."""
    # An enqueued config that an edited space has no place for is ended without an outcome (`study_edit.py`).
    is_started = trial.state == optuna.trial.TrialState.RUNNING or trial.user_attrs.get(OUTCOME) is not None
    return is_started and DUPLICATE_OF not in trial.user_attrs


def open_study(study_dir: Path, writes: bool = False) -> Study:
    """Opens an existing study, to read it or (`writes`) to go on with it.

    Raises:
        UserError: see `read_manifest`; or the journal is damaged.
    """
    manifest = read_manifest(study_dir)
    journal = study_dir / "journal.log"
    if writes:
        drop_torn_line(journal)
    storage = _storage(journal)
    try:
        study = optuna.load_study(study_name=optuna_name(manifest), storage=storage)
    except KeyError:
        raise damaged(journal, "it is another study's, or the lines that begin this one are gone") from None
    if _was_edited(manifest, storage):
        raise damaged(manifest_path(study_dir), "it is older than its journal, in which the space was edited since")
    return Study(study_dir, manifest, storage, study)


def _was_edited(manifest: Mapping[str, Any], storage: JournalStorage) -> bool:
    """Whether the journal has a whole edit that the manifest knows nothing of; half of one is made again."""
    name = optuna_name({**manifest, "generation": manifest["generation"] + 1})
    edited = [study for study in storage.get_all_studies() if study.study_name == name]
    return any(EDIT_MADE in study.user_attrs for study in edited)


def check_new_study(study_dir: Path) -> None:
    """Refuses a place where no study can be made, before any work is done for it.

    Raises:
        UserError: it is a file or holds other things, or no folder can be made there.
    """
    if study_dir.exists() and (not study_dir.is_dir() or any(study_dir.iterdir())):
        found = "this one holds other things" if study_dir.is_dir() else "this is a file"
        raise UserError(
            f"{study_dir}: a new study needs a folder that is empty or not there yet, but {found}. "
            f"Give another --study."
        )
    try:
        study_dir.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryDirectory(prefix=".ell-tune-", dir=study_dir.parent).cleanup()
    except OSError as error:
        raise UserError(
            f"{study_dir}: a study needs a place that can be written, but no folder can be made in {study_dir.parent} "
            f"({error.strerror}). Give another --study."
        ) from None


def create_study(
    study_dir: Path, spec: SearchSpec, essays: Essays, folds: Folds, pseudo: PseudoEssays | None = None
) -> Study:
    """Makes a study folder with every enqueued config waiting in its journal; all of it or nothing.

    Raises:
        UserError: see `check_new_study`.
    """
    check_new_study(study_dir)
    try:
        with whole_folder(study_dir, place=study_dir) as making:
            _fill(making, spec, essays, folds, pseudo)
    except OSError:
        check_new_study(study_dir)  # another search may have made it meanwhile
        raise
    return open_study(study_dir, writes=True)


def _fill(study_dir: Path, spec: SearchSpec, essays: Essays, folds: Folds, pseudo: PseudoEssays | None) -> None:
    (study_dir / "trials").mkdir()
    save_folds(study_dir / "folds.csv", essays, folds)
    manifest = {
        "id": secrets.token_hex(4),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        **described(spec),
        "generation": 0,
        "edits": [],
        "provenance": {
            **provenance(),
            "essays": len(essays),
            "data_sha256": essays.fingerprint,
            "folds_sha256": folds.fingerprint,
            "pseudo": None if pseudo is None else pseudo.provenance,
            "seed": spec.study.seed,
        },
    }
    write_manifest(study_dir, manifest)
    study = optuna.create_study(
        study_name=optuna_name(manifest), storage=_storage(study_dir / "journal.log"), direction="minimize"
    )
    for config in spec.enqueue:
        enqueue_config(study, spec.space, config)


def enqueue_config(study: optuna.Study, space: Space, config: Mapping[str, Any]) -> None:
    """Lets a whole config of the space wait in the journal, for a search to start."""
    study.enqueue_trial(space.encode(config), user_attrs={CONFIG: differences(space.base, config)})


def optuna_name(manifest: Mapping[str, Any]) -> str:
    """The name in the journal of the study as it is after its last edit, which no other study's journal has."""
    return f"ell-tune/{manifest['id']}/{manifest['generation']}"


def described(spec: SearchSpec) -> dict[str, Any]:
    """What a study remembers of a space file: the part of study.json that an edited space replaces."""
    return {
        "document": spec.document,
        "study": spec.study.model_dump(),
        "base": dict(spec.space.base),
        "searched": list(spec.space.searched),
        "artifacts": spec.study.artifacts,
        "data": spec.data.model_dump(),
    }


def _storage(journal: Path) -> JournalStorage:
    optuna.logging.set_verbosity(logging.WARNING)
    return open_journal(journal)
