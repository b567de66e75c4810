"""Goes on with a study whose space file was edited.

Trials that fit the new space go on steering the search. Those that do not fit stay on the leaderboard and steer
nothing: the sampler is told nothing of them, and no rung holds them. In the journal the edited space is a new Optuna
study with all trials of the old one in their order, because Optuna cannot change the alternatives of a parameter.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FixedTrial, FrozenTrial
from optuna.trial import TrialState as Told

from ell_tune.choosing.constraints import violations
from ell_tune.choosing.search_spec import SearchSpec, StudyConfig
from ell_tune.choosing.telling import StoppedAs
from ell_tune.config import validate
from ell_tune.dotted import differences
from ell_tune.errors import UserError
from ell_tune.spaces.space import OutsideDomain
from ell_tune.studies.judging import Judgement, judge, judged_again
from ell_tune.studies.manifest import write_manifest
from ell_tune.studies.study import Study, described, enqueue_config, open_study, optuna_name, was_started
from ell_tune.studies.study_lock import changing_trials
from ell_tune.trials.records import TrialState
from ell_tune.trials.trial_attributes import CONFIG, DUPLICATE_OF, EDIT_MADE, MISFIT, OUTCOME, REASON, USAGE

_FIXED_PARAMS = "fixed_params"  # Optuna's system attribute of an enqueued trial
_JUDGED = {
    TrialState.FAILED: "these trials have failed",
    TrialState.COMPLETE: "these trials are complete again",
    TrialState.STOPPED: "these trials are stopped ones again",
    TrialState.RUNNING: "these trials go on, which had failed",
}
_FIXED_FIELDS = ("seed", "num_folds", "fold", "artifacts")  # of the section `study`: scores would not compare


@dataclass(frozen=True)
class SpaceEdit:
    """What an edited space file changes."""

    sections: tuple[str, ...]  # those that differ
    num_steering: int  # trials that have started, fit the new space and tell its sampler something
    misfits: Mapping[int, str]  # number of a trial that has started → why it does not fit the new space
    waiting_misfits: Mapping[int, str]  # the same of enqueued configs that no search has started
    judged: Mapping[int, Judgement]  # number of an ended trial → what the edited constraints make of it
    stopped_as: tuple[StoppedAs, StoppedAs]  # how stopped trials were told to the sampler, and how they will be

    @property
    def summary(self) -> str:
        """What a user should know before the search goes on."""
        words = [f"The space file has changed ({', '.join(self.sections)})."]
        if self.misfits:
            words.append(
                f"Trials that fit it and go on steering the search: {self.num_steering}. Trials that do not, and only "
                f"stay on the leaderboard: {len(self.misfits)} ({_shown(self.misfits)})."
            )
        else:
            words.append("All trials of the study fit it.")
        if self.waiting_misfits:
            words.append(
                f"Enqueued configs that do not fit it are not run: {len(self.waiting_misfits)} "
                f"({_shown(self.waiting_misfits)})."
            )
        for state, what in _JUDGED.items():
            found = [number for number, judged in self.judged.items() if judged.state == state and judged.is_news]
            if found:
                words.append(f"By its constraints {what}: {', '.join(map(str, found))}.")
        before, now = self.stopped_as
        if before != now:
            words.append(f"Trials that were stopped or failed stay told as they are; those to come are told as {now}.")
        return " ".join(words)


def _shown(misfits: Mapping[int, str]) -> str:
    shown = "; ".join(f"trial {number}: {why}" for number, why in list(misfits.items())[:3])
    return shown + (f"; and {len(misfits) - 3} more" if len(misfits) > 3 else "")


def compare(study: Study, spec: SearchSpec, space_path: Path) -> SpaceEdit | None:
    """What `spec` changes in the study; None if it is the space that the study has.

    Raises:
        UserError: it changes what scores depend on, so that they would not compare.
    """
    remembered = study.manifest["document"]
    if remembered == spec.document:
        return None
    before, now = _what_scores_depend_on(study.manifest), _what_scores_depend_on(described(spec))
    changed = [name for name, value in before.items() if now[name] != value]
    if changed:
        raise UserError(
            f"{space_path}: a study goes on with an edited space, but not with another {', '.join(changed)}, because "
            f"its scores would not compare with those of {study.study_dir}. Take the change back, or give another "
            f"--study."
        )
    sections = {*remembered, *spec.document}
    misfits: dict[int, str] = {}
    waiting_misfits: dict[int, str] = {}
    judged: dict[int, Judgement] = {}
    num_steering = 0
    for trial in study.optuna_study.get_trials(deepcopy=False):
        if CONFIG not in trial.user_attrs or DUPLICATE_OF in trial.user_attrs:
            continue
        why = _misfit(study.config(trial), spec)
        if why is not None:
            (misfits if was_started(trial) else waiting_misfits)[trial.number] = why
        else:
            # Of a lost trial, samplers hear nothing.
            num_steering += was_started(trial) and trial.user_attrs.get(OUTCOME) != TrialState.LOST
        judgement = judged_again(trial, spec.study.constraints.limits)
        if judgement is not None and not (why is not None and judgement.state == TrialState.RUNNING):
            judged[trial.number] = judgement
    told_before = validate(StudyConfig, study.manifest["study"]).tells_stopped_as
    differing = sorted(name for name in sections if remembered.get(name) != spec.document.get(name))
    return SpaceEdit(
        tuple(differing), num_steering, misfits, waiting_misfits, judged, (told_before, spec.study.tells_stopped_as)
    )


def _what_scores_depend_on(manifest: Mapping[str, Any]) -> dict[str, Any]:
    fixed = {f"study.{name}": manifest["study"][name] for name in _FIXED_FIELDS}
    return {"trainable": manifest["document"]["trainable"], "data": manifest["data"], **fixed}


def _misfit(config: Mapping[str, Any], spec: SearchSpec) -> str | None:
    try:
        spec.space.encode(config)
    except OutsideDomain as error:
        return str(error)
    return None


def apply(study: Study, spec: SearchSpec, edit: SpaceEdit) -> Study:
    """Makes the study one of the edited space: all of it or, if the process dies, nothing."""
    with changing_trials(study.study_dir):  # a config enqueued meanwhile would stay behind in the old Optuna study
        return _apply(study, spec, edit)


def _apply(study: Study, spec: SearchSpec, edit: SpaceEdit) -> Study:
    generation = study.manifest["generation"] + 1
    name = optuna_name({**study.manifest, "generation": generation})
    if name in optuna.get_all_study_names(study.storage):  # the process died here before
        optuna.delete_study(study_name=name, storage=study.storage)
    edited = optuna.create_study(study_name=name, storage=study.storage, direction="minimize")
    trials = study.optuna_study.get_trials(deepcopy=False)
    for trial in trials:
        edited.add_trial(_moved(trial, study, spec, edit.judged.get(trial.number)))
    known = [study.config(trial) for trial in trials if CONFIG in trial.user_attrs]
    for config in spec.enqueue:
        if config not in known:
            enqueue_config(edited, spec.space, config)
    entry = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "before": study.manifest["document"],
        "misfits": {str(number): why for number, why in {**edit.misfits, **edit.waiting_misfits}.items()},
    }
    edits = [*study.manifest["edits"], entry]
    manifest = {**study.manifest, **described(spec), "generation": generation, "edits": edits}
    write_manifest(study.study_dir, manifest)
    edited.set_user_attr(EDIT_MADE, True)
    return open_study(study.study_dir, writes=True)


def _moved(trial: FrozenTrial, study: Study, spec: SearchSpec, judgement: Judgement | None) -> FrozenTrial:
    """A trial of the old space as one of the new: the same, but told to the sampler only if it fits."""
    moved = FrozenTrial(
        number=trial.number,
        state=trial.state,
        value=trial.value if trial.state.is_finished() else None,
        datetime_start=trial.datetime_start,
        datetime_complete=trial.datetime_complete,
        params={},
        distributions={},
        user_attrs=dict(trial.user_attrs),
        # Not what a sampler remembers in a trial: CMA-ES's distribution is one over the old space.
        system_attrs={name: value for name, value in trial.system_attrs.items() if name == _FIXED_PARAMS},
        intermediate_values=trial.intermediate_values,
        trial_id=-1,  # the storage gives it one
    )
    attributes = moved.user_attrs
    if CONFIG not in attributes:
        return moved
    config = study.config(trial)
    attributes[CONFIG] = differences(spec.space.base, config)
    if DUPLICATE_OF in attributes:
        return moved
    known = attributes.pop(MISFIT, None)
    if known is not None and trial.state == Told.FAIL:
        moved.state, moved.value = Told[known["state"]], known["value"]
        if moved.state == Told.RUNNING:  # broken off
            moved.datetime_complete = None
            del attributes[OUTCOME]
    if judgement is not None:
        judge(moved, judgement, spec.study.tells_stopped_as)
    if _misfit(config, spec) is not None:
        return _as_misfit(moved, trial.params if known is None else known["params"])
    if attributes.get(OUTCOME) is not None:
        for name, value in violations(spec.study.constraints.limits, attributes.get(USAGE, {})).items():
            moved.set_constraint(name, value)
    params = spec.space.encode(config)
    if moved.state == Told.WAITING:
        moved.datetime_start = moved.datetime_complete = None
        moved.system_attrs[_FIXED_PARAMS] = params
        return moved
    fixed = FixedTrial(params)
    spec.space.suggest(fixed)  # type: ignore[arg-type]  # has all that a domain calls
    moved.params, moved.distributions = fixed.params, fixed.distributions
    return moved


def _as_misfit(trial: FrozenTrial, params: Mapping[str, Any]) -> FrozenTrial:
    """A moved trial that does not fit: told to Optuna as failed, which samplers ignore, unless it is in flight."""
    attributes = trial.user_attrs
    attributes[MISFIT] = {"params": dict(params), "state": trial.state.name, "value": trial.value}
    is_in_flight = trial.state == Told.RUNNING
    if is_in_flight and attributes.get(REASON) is not None and attributes.get(OUTCOME) is None:
        # A bug broke it off. It would meet that again, before any trial of the new space.
        attributes[OUTCOME], is_in_flight = str(TrialState.FAILED), False
    if not is_in_flight:
        trial.state, trial.value = Told.FAIL, None
        trial.datetime_complete = trial.datetime_complete or datetime.now()
        trial.datetime_start = trial.datetime_start or trial.datetime_complete
    return trial
