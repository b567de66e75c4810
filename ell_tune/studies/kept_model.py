"""A model folder straight from a search: the weights that its best trials kept, all trained without the same fold.

It predicts as one of `ell-tune retrain` does. But nothing has cross-validated it: its members' scores are those by
which the search chose them, on the fold that all of them left out.
"""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ell_tune.errors import UserError
from ell_tune.essays.data import DataConfig
from ell_tune.files.artifacts import WEIGHTS_ITEM
from ell_tune.files.atomic import whole_folder
from ell_tune.models.model_folder import Member, Model, save_model
from ell_tune.studies.provenance import provenance
from ell_tune.studies.study import Study, job_name
from ell_tune.trials.records import TrialRecord


def make_kept_model(study: Study, trials: Sequence[TrialRecord], model_dir: Path) -> Model:
    """Copies the weights of complete trials into a new model folder: all of it or nothing.

    Raises:
        UserError: a trial's weights are not kept, or there is no place for a new folder.
    """
    _check_kept(study, trials)
    if model_dir.exists() and (not model_dir.is_dir() or any(model_dir.iterdir())):
        raise UserError(
            f"{model_dir}: a model from a search needs a folder that is empty or not there yet, but this one holds "
            f"other things. Give another --model."
        )
    model = _model(study, trials)
    with whole_folder(model_dir.absolute(), place=model_dir.absolute().parent) as making:
        (making / "members").mkdir()
        shutil.copyfile(study.folds_path, making / "folds.csv")
        for trial in trials:
            _copy_weights(study, trial, making / "members" / job_name(trial.number) / "weights")
        save_model(making, model)
    return model


def _check_kept(study: Study, trials: Sequence[TrialRecord]) -> None:
    missing = [trial for trial in trials if WEIGHTS_ITEM not in study.artifact_folder(trial.number).names()]
    if missing:
        numbers = ", ".join(str(trial.number) for trial in missing)
        raise UserError(
            f"--model: a model straight from a search needs the weights of its trials, but {study.name} has none of "
            f"trial{'s' if len(missing) > 1 else ''} {numbers}. `ell-tune search ... --disk-budget 20GB` keeps those "
            f"of the best trials to come, as many as fit; or leave out --model, and `ell-tune retrain` the configs."
        )


def _copy_weights(study: Study, trial: TrialRecord, weights_dir: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="ell-tune-") as scratch:
        try:
            shutil.copytree(study.artifact_folder(trial.number).fetch(WEIGHTS_ITEM, Path(scratch)), weights_dir)
        except (FileNotFoundError, shutil.Error):
            _check_kept(study, [trial])
            raise
    _check_kept(study, [trial])  # a running search may have let them go meanwhile, which begins with their marker


def _model(study: Study, trials: Sequence[TrialRecord]) -> Model:
    searched, trainable = study.manifest["provenance"], study.manifest["document"]["trainable"]
    scores = {trial.number: trial.score for trial in trials if trial.score is not None}  # every complete trial has one
    return Model(
        data=DataConfig(**study.manifest["data"]),
        members=tuple(
            Member(
                name=job_name(trial.number),
                config_name=f"trial {trial.number} of {study.name}",
                trainable=trainable,
                fold=study.manifest["study"]["fold"],
                score=scores[trial.number],
            )
            for trial in trials
        ),
        cv=None,
        provenance={
            **provenance(),
            **{name: searched[name] for name in ("essays", "data_sha256", "pseudo", "seed")},
        },
    )
