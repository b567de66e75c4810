"""`ell-tune export`: the best configs of a study as YAML files that `ell-tune retrain` takes, or a person edits."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ell_tune.config import InvalidConfig, StrictConfig, validate
from ell_tune.dotted import expand
from ell_tune.errors import UserError
from ell_tune.essays.data import DataConfig
from ell_tune.files.atomic import make_folder, write_whole
from ell_tune.spaces.yaml_source import load_yaml
from ell_tune.studies.study import Study
from ell_tune.trainable import load_trainable
from ell_tune.trials.front import front
from ell_tune.trials.ranking import ranked
from ell_tune.trials.records import TrialRecord, TrialState


@dataclass(frozen=True)
class ExportedConfig:
    """A config file: everything that training it again needs but the essays."""

    trainable_name: str
    data: DataConfig
    seed: int
    artifacts: str | None
    config: StrictConfig


def best_complete(study: Study, num_best: int | None) -> list[TrialRecord]:
    """The `num_best` best complete trials of a study, or all on its front of score and cost, the best score first.

    Raises:
        UserError: the study has fewer complete trials, or no front.
    """
    record = study.record()
    if num_best is None and record.cost is None:
        raise UserError(
            f"--front: only a search by the sampler `nsga2` has a front of score and cost, and {record.name} has "
            f"another sampler. Take the best scores with --top K."
        )
    candidates = ranked(record.trials) if num_best is not None else front(record)[::-1]
    complete = [trial for trial in candidates if trial.state == TrialState.COMPLETE]
    if len(complete) < (1 if num_best is None else num_best):
        option = "--front" if num_best is None else f"--top {num_best}"
        raise UserError(
            f"{option}: only trials that ran their whole schedule are exported, and {record.name} has "
            f"{len(complete)} of them. Ask for fewer, or search on (`ell-tune search ... --trials N`)."
        )
    return complete[:num_best]


def export(study: Study, trials: Sequence[TrialRecord], out_dir: Path) -> list[Path]:
    """Writes the configs of trials, the best first, as `RANK-trial-NNNN.yaml`.

    Raises:
        UserError: `out_dir` is a file, or cannot be written.
    """
    document, searched = study.manifest["document"], study.manifest["provenance"]
    make_folder(out_dir)
    paths = []
    for rank, trial in enumerate(trials):
        content = {
            "trainable": document["trainable"],
            "data": study.manifest["data"],
            "seed": searched["seed"],
            "artifacts": study.manifest["artifacts"],
            "config": dict(trial.config),
        }
        path = out_dir / f"{rank + 1:02d}-trial-{trial.number:04d}.yaml"
        header = (
            f"# Trial {trial.number} of study {study.name}: score {trial.score:.4f} on one fold.\n"
            f"# A search flatters its leader; `ell-tune retrain` gives the cross-validated score.\n"
        )
        if searched.get("pseudo") is not None:
            header += (
                "# It was pre-trained on pseudo-labels: give `retrain` the search's --pseudo and --pseudo-model.\n"
            )
        write_whole(path, header + yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
        paths.append(path)
    return paths


def load_exported(path: Path) -> ExportedConfig:
    """Reads a config file.

    Raises:
        UserError: a missing or unknown section, or a field outside its legal range, with the file's line.
    """
    source = load_yaml(path, "`ell-tune export DIR --top K --out CONFIG_DIR` writes such files.")
    allowed: dict[str, type | tuple[type, ...]] = {
        "trainable": str,
        "data": dict,
        "seed": int,
        "artifacts": (str, type(None)),
        "config": dict,
    }
    for name, value in source.data.items():
        if name not in allowed or not isinstance(value, allowed[name]):
            raise UserError(
                f"{source.where((name,))}: a config file holds {', '.join(allowed)}, as `ell-tune export` writes it, "
                f"but got {name}: {str(value)[:60]!r}. A space file is for `ell-tune search`."
            )
    missing = {"trainable", "config"} - set(source.data)
    if missing:
        raise UserError(
            f"{path}: a config file needs {' and '.join(sorted(missing))}. `ell-tune export DIR --top K --out DIR` "
            f"writes such files; a space file is for `ell-tune search`."
        )
    name = source.data["trainable"]

    def checked(section: str, model: type[StrictConfig]) -> Any:
        try:
            return validate(model, expand(source.data.get(section, {})))
        except InvalidConfig as error:
            raise UserError(f"{source.where((section, *error.path.split('.')))}: {section}.{error}") from None

    return ExportedConfig(
        trainable_name=name,
        data=checked("data", DataConfig),
        seed=source.data.get("seed", 42),
        artifacts=source.data.get("artifacts"),
        config=checked("config", load_trainable(name).Config),
    )
