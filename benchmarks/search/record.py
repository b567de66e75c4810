"""Records learning curves: a random search of ell-tune's own, without early stopping, read from its study.

    python -m benchmarks.search.record train.csv --out recording

Nothing of the essays gets into the table: it has parameters, scores and seconds. A recording that is broken off goes
on. Seconds are wall time, so a recording needs a machine that does nothing else.
"""

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from ell_tune.choosing.search_spec import load_search_spec
from ell_tune.files.atomic import write_whole
from ell_tune.spaces.space import Space
from ell_tune.studies.study import open_study
from ell_tune.trials.records import StudyRecord, TrialState

SPACE = Path(__file__).with_name("minilm.yaml")
TABLE = Path(__file__).with_name("minilm_scores.json")
_SUBSET_SEED = 0


def write_subset(train: Path, out: Path, num_essays: int) -> None:
    """Some of the essays, the same ones at each call, in their order."""
    with train.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    chosen = np.sort(np.random.default_rng(_SUBSET_SEED).permutation(len(rows))[:num_essays])
    with out.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *(rows[index] for index in chosen)])


def table_of(study: StudyRecord, space: Space) -> dict[str, Any]:
    """The recorded fits that ran to their end or diverged, as plain data.

    A study knows a fit's training time as a whole, so each evaluation gets the same share of it. Where a fit diverged,
    the score is null from there on.
    """
    rows = []
    for trial in study.trials:
        if trial.state not in (TrialState.COMPLETE, TrialState.FAILED) or not trial.curve:
            continue
        scores = [trial.curve.get(step) for step in range(1, study.num_steps + 1)]
        rows.append(
            {
                "params": space.encode(trial.config),
                "scores": [round(score, 6) if score is not None and np.isfinite(score) else None for score in scores],
                "seconds": round(trial.seconds / max(trial.curve), 3),
            }
        )
    return {
        "num_steps": study.num_steps,
        "data_sha256": study.provenance["data_sha256"],
        "essays": study.provenance["essays"],
        "rows": rows,
    }


def as_text(table: dict[str, Any]) -> str:
    """JSON with a line for each fit."""
    head = {key: value for key, value in table.items() if key != "rows"}
    rows = ",\n".join(json.dumps(row) for row in table["rows"])
    return f'{json.dumps(head)[:-1]}, "rows": [\n{rows}\n]}}\n'


def main(
    train: Annotated[Path, typer.Argument(help="essays with FB3's columns")],
    out: Annotated[Path, typer.Option(help="a folder for the study, kept for the next call")],
    table: Annotated[Path, typer.Option(help="where the table goes")] = TABLE,
    configs: Annotated[int, typer.Option(min=1)] = 72,
    essays: Annotated[int, typer.Option(min=40)] = 400,
    gpus_per_fit: Annotated[float | None, typer.Option(help="a part of a GPU; one where there is any")] = None,
) -> None:
    """Fits random configs of `minilm.yaml`, one core each, and writes their scores."""
    out.mkdir(parents=True, exist_ok=True)
    write_subset(train, out / "subset.csv", essays)
    search = ["search", str(SPACE), "--train", str(out / "subset.csv"), "--study", str(out / "study")]
    command = [sys.executable, "-m", "ell_tune.cli", *search, "--trials", str(configs), "--cpus-per-trial", "1"]
    if gpus_per_fit is not None:
        command += ["--gpus-per-trial", str(gpus_per_fit)]
    subprocess.run(command, check=True)
    spec = load_search_spec(SPACE)
    recorded = table_of(open_study(out / "study").record(), spec.space)
    write_whole(table, as_text(recorded))
    print(f"{len(recorded['rows'])} fits in {table}")


if __name__ == "__main__":
    typer.run(main)
