"""The verbs of a study: search it, look at it, add to it, take its best configs."""

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from ell_tune.cli.app import app
from ell_tune.cli.options import (
    AddressOption,
    ConcurrentOption,
    CpusOption,
    GpusOption,
    JsonOption,
    PseudoModelOption,
    PseudoOption,
    SettingsOption,
    TrainOption,
    bytes_of,
    out_console,
    print_line,
    print_pseudo,
    score_of,
    seconds_of,
)
from ell_tune.errors import UserError
from ell_tune.running.ray_environment import set_ray_environment
from ell_tune.runs.budget import Budget
from ell_tune.trials.records import TrialRecord, TrialState


@app.command()
def search(
    space: Annotated[Path, typer.Argument(metavar="SPACE.yaml", help="What is fixed, searched and tried first.")],
    train: TrainOption,
    study: Annotated[Path, typer.Option(metavar="DIR", help="The study folder: new, or one to go on with.")],
    trials: Annotated[int, typer.Option(min=1, help="Trials in the study, those that it has included.")] = 20,
    time_budget: Annotated[
        str | None, typer.Option(metavar="TIME", help="Time for the whole study: 45s, 90m, 1h30m.")
    ] = None,
    device_budget: Annotated[
        str | None, typer.Option(metavar="TIME", help="Training time of all trials, times their GPUs (or CPUs).")
    ] = None,
    trial_budget: Annotated[
        str | None, typer.Option(metavar="TIME", help="Training time after which a trial is stopped.")
    ] = None,
    target_score: Annotated[
        float | None, typer.Option(metavar="SCORE", help="End once a complete trial scores this or less.")
    ] = None,
    disk_budget: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Disk for the study: 500MB, 20GB. The best trials keep their weights, as many as fit. Default: none.",
        ),
    ] = None,
    settings: SettingsOption = None,
    pseudo: PseudoOption = None,
    pseudo_model: PseudoModelOption = None,
    cpus_per_trial: CpusOption = 1.0,
    gpus_per_trial: GpusOption = None,
    max_concurrent: ConcurrentOption = None,
    address: AddressOption = None,
) -> None:
    """Search a space, or go on with a study: the same command resumes after Ctrl-C, a crash or a larger --trials.

    Example: `ell-tune search search_spaces/minilm_cpu.yaml --train train.csv --study studies/first --trials 20`
    """
    budget = Budget(
        num_trials=trials,
        seconds=seconds_of("--time-budget", time_budget),
        device_seconds=seconds_of("--device-budget", device_budget),
        trial_seconds=seconds_of("--trial-budget", trial_budget),
        target_score=score_of("--target-score", target_score),
        disk_bytes=bytes_of("--disk-budget", disk_budget),
    )
    set_ray_environment(address)
    from ell_tune.models.pseudo_labels import pseudo_request
    from ell_tune.running.ray_cluster import connected, resources
    from ell_tune.runs.search import SearchRequest, check_request, finished_record, fit_to_disk
    from ell_tune.runs.search import search as run_search
    from ell_tune.trials.progress import make_display

    asked = SearchRequest(space, train, study, settings or [], budget, pseudo_request(pseudo, pseudo_model))
    request = check_request(asked)
    print_pseudo(request.pseudo)
    fitted = fit_to_disk(request)
    if fitted is not None:
        print_line(fitted)
    record, why = finished_record(request), None
    if record is not None:
        print_line(
            f"Nothing is left to search: --trials {trials} counts those that the study has. A larger one adds to them."
        )
    else:
        if request.edit is not None:
            print_line(request.edit.summary)
        with connected(address) as dashboard:
            print_line(dashboard)
            per_trial = resources(cpus_per_trial, gpus_per_trial, max_concurrent, joined=address is not None)
            end = run_search(request, per_trial, make_display(out_console))
            record, why = end.record, end.why
    _print_end(record.trials, why, space, study)


def _print_end(trials: Sequence[TrialRecord], why: str | None, space: Path, study: Path) -> None:
    """Says what came of a search: `why` it ended before all of its trials had, if it did.

    Raises:
        UserError: no config could be trained, or all that ended lost their workers.
    """
    states = {trial.state for trial in trials}
    if states == {TrialState.FAILED}:
        raise UserError(
            f"{study}: at least one config must train, but each failed; the first, the base config: "
            f"{_reason(trials[0])}. Correct {space}, and the same command with a larger --trials goes on."
        )
    if states and states <= {TrialState.FAILED, TrialState.LOST}:
        lost = next(trial for trial in trials if trial.state == TrialState.LOST)
        raise UserError(
            f"{study}: at least one trial must get through, but each failed or lost its worker; trial "
            f"{lost.number}: {_reason(lost)}. See that the machine has the memory for it (--max-concurrent), and the "
            f"same command with a larger --trials goes on."
        )
    if why is not None:
        under_way = sum(trial.state == TrialState.RUNNING for trial in trials)
        kept = f" Still under way, for a larger budget to go on with: {under_way}." if under_way else ""
        print_line(f"The search ended early: {why}.{kept}")
    print_line(f"Trials in {study}: {len(trials)}. Next: ell-tune leaderboard {shlex.quote(str(study))}")


def _reason(trial: TrialRecord) -> str:
    return (trial.reason or "").rstrip(".")


@app.command()
def leaderboard(
    study: Annotated[Path, typer.Argument(metavar="DIR", help="A study folder.")], as_json: JsonOption = False
) -> None:
    """Show every trial of a study, the best first. A running study can be looked at.

    Example: `ell-tune leaderboard studies/first --json`
    """
    from ell_tune.studies.study import open_study
    from ell_tune.studies.study_lock import is_held
    from ell_tune.trials.leaderboard import as_rows, as_table

    record, is_searched = open_study(study).record(), is_held(study)
    if as_json:
        print(json.dumps(as_rows(record, is_searched), indent=1))
    else:
        out_console.print(as_table(record, is_searched))


@app.command()
def status(
    study: Annotated[Path, typer.Argument(metavar="DIR", help="A study folder.")], as_json: JsonOption = False
) -> None:
    """Tell how a search stands, from another terminal: trials, time, the best, what is under way.

    Example: `ell-tune status studies/first`
    """
    from datetime import datetime

    from ell_tune.studies.status import as_lines
    from ell_tune.studies.status import status as read_status

    found = read_status(study)
    if as_json:
        print(json.dumps(found, indent=1))
        return
    for line in as_lines(found, datetime.now().astimezone()):
        print_line(line)


@app.command()
def enqueue(
    study: Annotated[Path, typer.Argument(metavar="DIR", help="A study folder; its search may be running.")],
    configs: Annotated[
        list[Path],
        typer.Argument(metavar="CONFIG.yaml...", help="What differs from the base config, or files of `export`."),
    ],
) -> None:
    """Add configs that the search of a study tries next. They count among its --trials.

    Example: `ell-tune enqueue studies/first mine.yaml` with `optimizer.lr: 5e-5` in mine.yaml
    """
    from ell_tune.studies.enqueue import enqueue as run_enqueue

    for outcome in run_enqueue(study, configs):
        if outcome.same_as is None:
            print_line(f"Enqueued {outcome.path}")
        else:
            print_line(f"Left out {outcome.path}: trial {outcome.same_as} has this config")


@app.command()
def report(
    study: Annotated[Path, typer.Argument(metavar="DIR", help="A study folder.")],
    out: Annotated[Path, typer.Option(metavar="report.html", help="The page to write.")],
) -> None:
    """Explain a study in one self-contained HTML page.

    Example: `ell-tune report studies/first --out report.html`
    """
    if out.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"--out {out}: the report is a page, whose name ends in .html. Name it so.")
    from analysis.report import write_report
    from ell_tune.studies.study import open_study

    write_report(open_study(study).record(), out)
    print_line(f"Wrote {out}")


@app.command()
def export(
    study: Annotated[Path, typer.Argument(metavar="DIR", help="A study folder.")],
    out: Annotated[Path, typer.Option(metavar="CONFIG_DIR", help="The folder to write them into.")],
    top: Annotated[int | None, typer.Option(min=1, help="How many of the best configs.")] = None,
    front: Annotated[
        bool, typer.Option("--front", help="Instead: those on the front of score and cost (sampler `nsga2`).")
    ] = False,
    model: Annotated[
        Path | None,
        typer.Option(metavar="MODEL_DIR", help="Make a model of their weights too, if --disk-budget kept them."),
    ] = None,
) -> None:
    """Write the best configs of a study as YAML files for `retrain`; with --model, predict without retraining.

    Example: `ell-tune export studies/first --top 3 --out configs`
    """
    if front == (top is not None):
        raise UserError("export: which configs are written is said by --top K or by --front; give one of them.")
    from ell_tune.studies.export import best_complete
    from ell_tune.studies.export import export as run_export
    from ell_tune.studies.kept_model import make_kept_model
    from ell_tune.studies.study import open_study

    opened = open_study(study)
    best = best_complete(opened, top)
    if model is not None:
        make_kept_model(opened, best, model)
    for path in run_export(opened, best, out):
        print_line(f"Wrote {path}")
    if model is not None:
        print_line(
            f"Wrote {model}: {len(best)} members, all trained without the fold whose scores chose them. A model of all "
            f"folds, and a score to believe, come of `ell-tune retrain`."
        )
        print_line(f"Next: ell-tune predict {shlex.quote(str(model))} TEST.csv --out submission.csv")
