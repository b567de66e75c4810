"""`ell-tune enqueue`: puts configs into a study, which its search, running or to come, tries next."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ell_tune.choosing.search_spec import SearchSpec, remembered_spec
from ell_tune.config import InvalidConfig, validate
from ell_tune.dotted import differences, expand, merged
from ell_tune.errors import UserError
from ell_tune.spaces.space import FixedFieldDiffers, OutsideDomain
from ell_tune.spaces.yaml_source import YamlSource, load_yaml
from ell_tune.studies.manifest import manifest_path, read_manifest
from ell_tune.studies.study import Study, config_key, enqueue_config, open_study
from ell_tune.studies.study_lock import changing_trials
from ell_tune.trials.records import TrialState
from ell_tune.trials.trial_attributes import CONFIG, OUTCOME


@dataclass(frozen=True)
class Enqueued:
    """What became of one file."""

    path: Path
    same_as: int | None  # the trial that has its config already, for which it was left out


def enqueue(study_dir: Path, config_paths: Sequence[Path]) -> list[Enqueued]:
    """Puts the config of each file into the study's journal; of all of them, or of none where one is wrong.

    A file holds what is to differ from the study's base config (`optimizer.lr: 5e-5`), or is one of `ell-tune export`.

    Raises:
        UserError: no study, or a config that does not belong to its space; the message names the file's line.
    """
    read_manifest(study_dir)  # or there is nothing to lock
    with changing_trials(study_dir):
        return _enqueue(study_dir, config_paths)


def _enqueue(study_dir: Path, config_paths: Sequence[Path]) -> list[Enqueued]:
    study = open_study(study_dir, writes=True)
    spec = remembered_spec(study.manifest["document"], manifest_path(study_dir))
    configs = [_read(path, spec) for path in config_paths]
    numbers = _numbers(study)
    outcomes = []
    for path, config in zip(config_paths, configs, strict=True):
        same_as = numbers.get(config_key(differences(study.base, config)))
        if same_as is None:
            enqueue_config(study.optuna_study, spec.space, config)
            numbers = _numbers(study)
        outcomes.append(Enqueued(path, same_as))
    return outcomes


def _numbers(study: Study) -> dict[bytes, int]:
    """Key of a config → the first trial that has it and was not lost, of which nothing is known."""
    return {
        config_key(trial.user_attrs[CONFIG]): trial.number
        for trial in reversed(study.optuna_study.get_trials(deepcopy=False))
        if CONFIG in trial.user_attrs and trial.user_attrs.get(OUTCOME) != TrialState.LOST
    }


def _read(path: Path, spec: SearchSpec) -> dict[str, object]:
    source = load_yaml(path, "Write what differs from the base config into one, such as `optimizer.lr: 5e-5`.")
    model = spec.trainable.Config
    changes = expand(source.data)
    prefix: tuple[str, ...] = ()
    if "config" in changes and "config" not in model.model_fields:  # a file of `ell-tune export`
        prefix, changes = ("config",), changes["config"]
        if not isinstance(changes, dict):
            raise _wrong(source, prefix, f"`config` is a mapping in a file of `ell-tune export`, but here {changes!r}")
    try:
        config = validate(model, merged(spec.space.base, changes, model)).model_dump()
        spec.space.encode(config)
    except InvalidConfig as error:
        raise _wrong(source, (*prefix, *error.path.split(".")), str(error)) from None
    except FixedFieldDiffers as error:
        raise _wrong(source, (*prefix, *error.paths[0].split(".")), f"{error}; search it, or leave it out") from None
    except OutsideDomain as error:
        raise _wrong(source, prefix, f"{error}; change the value, or widen the search of the space file") from None
    return config


def _wrong(source: YamlSource, yaml_path: tuple[str, ...], message: str) -> UserError:
    end = "" if message.endswith((".", "?")) else "."
    return UserError(f"{source.where(yaml_path)}: an enqueued config must lie in the study's space, but {message}{end}")
