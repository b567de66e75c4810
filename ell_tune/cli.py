"""The `ell-tune` command. Each verb checks its words, calls one function, and prints what came of it.

Exit code 0: done. 1: a bug of ours or of a trainable, with a traceback. 2: a user's mistake, with one paragraph.
130: interrupted; the message says how to go on.

Heavy imports (Ray, torch) stay inside the verbs that need them, so that `--help` and the readers are quick.
"""

import json
import re
import shlex
import sys
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from ell_tune import __version__
from ell_tune.errors import Interrupted, UserError
from ell_tune.interruption import sigterm_as_ctrl_c, undisturbed
from ell_tune.ray_environment import set_ray_environment

if TYPE_CHECKING:
    from ell_tune.pseudo_labels import PseudoEssays


class _Verbs(TyperGroup):
    """The verbs; SIGINT or SIGTERM, at whatever moment, ends each with `Interrupted`."""

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]  # typer's context is click's
        try:
            with sigterm_as_ctrl_c():
                return super().invoke(ctx)
        except KeyboardInterrupt:  # Typer would exit without a word
            raise Interrupted from None


app = typer.Typer(
    cls=_Verbs,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Search hyperparameters of essay scorers, retrain the best on all folds, predict. A first look: `make demo`.",
)

_out = Console()
_err = Console(stderr=True)

TrainOption = Annotated[Path, typer.Option("--train", help="CSV of scored essays.", metavar="TRAIN.csv")]
CpusOption = Annotated[float, typer.Option(min=0.1, help="CPUs, and with them threads, of each trial.")]
GpusOption = Annotated[
    float | None, typer.Option(min=0.0, help="GPUs of each trial; 0.5 puts two on one. Default: 1 where there are any.")
]
ConcurrentOption = Annotated[
    int | None, typer.Option("--max-concurrent", min=1, help="Trials at a time. Default: as many as fit.")
]
AddressOption = Annotated[
    str | None, typer.Option(help="A running Ray cluster: auto or HOST:6379. Default: this machine.")
]
PseudoOption = Annotated[
    Path | None, typer.Option("--pseudo", help="Essays without scores to pre-train on.", metavar="UNLABELLED.csv")
]
PseudoModelOption = Annotated[
    Path | None,
    typer.Option(
        "--pseudo-model", help="The model that scores them: of the same essays and folds.", metavar="MODEL_DIR"
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        print(f"ell-tune {__version__}")
        raise typer.Exit


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
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Fix a field; may be given more than once.")
    ] = None,
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
    set_ray_environment(address)
    from ell_tune.budget import Budget
    from ell_tune.progress import make_display
    from ell_tune.pseudo_labels import pseudo_request
    from ell_tune.ray_cluster import connected, resources
    from ell_tune.records import TrialState
    from ell_tune.search import SearchRequest, check_request, finished_record
    from ell_tune.search import search as run_search

    budget = Budget(
        num_trials=trials,
        seconds=_seconds("--time-budget", time_budget),
        device_seconds=_seconds("--device-budget", device_budget),
        trial_seconds=_seconds("--trial-budget", trial_budget),
        target_score=-inf if target_score is None else target_score,
    )
    asked = SearchRequest(space, train, study, settings or [], budget, pseudo_request(pseudo, pseudo_model))
    request = check_request(asked)
    _print_pseudo(request.pseudo)
    record, why = finished_record(request), None
    if record is not None:
        _print(
            f"Nothing is left to search: --trials {trials} counts those that the study has. A larger one adds to them."
        )
    else:
        with connected(address) as dashboard:
            _print(dashboard)
            per_trial = resources(cpus_per_trial, gpus_per_trial, max_concurrent, joined=address is not None)
            end = run_search(request, per_trial, make_display(_out))
            record, why = end.record, end.why
    if record.trials and all(trial.state == TrialState.FAILED for trial in record.trials):
        raise UserError(
            f"{study}: at least one config must train, but all {len(record.trials)} trials failed; the first, the base "
            f"config: {record.trials[0].reason}. Correct {space}, and search into another --study."
        )
    if why is not None:
        under_way = sum(trial.state == TrialState.RUNNING for trial in record.trials)
        kept = f" {under_way} trials are under way still; a larger budget goes on with them." if under_way else ""
        _print(f"The search ended early: {why}.{kept}")
    _print(f"{len(record.trials)} trials in {study}. Next: ell-tune leaderboard {shlex.quote(str(study))}")


@app.command()
def leaderboard(
    study: Annotated[Path, typer.Argument(metavar="DIR", help="A study folder.")], as_json: JsonOption = False
) -> None:
    """Show every trial of a study, the best first. A running study can be looked at.

    Example: `ell-tune leaderboard studies/first --json`
    """
    from ell_tune.leaderboard import as_rows, as_table
    from ell_tune.study import open_study
    from ell_tune.study_lock import is_held

    record, is_searched = open_study(study).record(), is_held(study)
    if as_json:
        print(json.dumps(as_rows(record, is_searched), indent=1))
    else:
        _out.print(as_table(record, is_searched))


@app.command()
def report(
    study: Annotated[Path, typer.Argument(metavar="DIR", help="A study folder.")],
    out: Annotated[Path, typer.Option(metavar="report.html", help="The page to write.")],
) -> None:
    """Explain a study in one self-contained HTML page.

    Example: `ell-tune report studies/first --out report.html`
    """
    from analysis.report import write_report
    from ell_tune.study import open_study

    write_report(open_study(study).record(), out)
    _print(f"Wrote {out}")


@app.command()
def export(
    study: Annotated[Path, typer.Argument(metavar="DIR", help="A study folder.")],
    top: Annotated[int, typer.Option(min=1, help="How many of the best configs.")],
    out: Annotated[Path, typer.Option(metavar="CONFIG_DIR", help="The folder to write them into.")],
) -> None:
    """Write the best configs of a study as YAML files for `retrain`.

    Example: `ell-tune export studies/first --top 3 --out configs`
    """
    from ell_tune.export import export as run_export
    from ell_tune.study import open_study

    for path in run_export(open_study(study), top, out):
        _print(f"Wrote {path}")


@app.command()
def retrain(
    configs: Annotated[list[Path], typer.Argument(metavar="CONFIG.yaml...", help="Files of `ell-tune export`.")],
    train: TrainOption,
    out: Annotated[Path, typer.Option(metavar="MODEL_DIR", help="The model folder to write, or to go on with.")],
    folds: Annotated[int, typer.Option(min=2, help="Folds; every config is trained once for each.")] = 5,
    pseudo: PseudoOption = None,
    pseudo_model: PseudoModelOption = None,
    cpus_per_trial: CpusOption = 1.0,
    gpus_per_trial: GpusOption = None,
    max_concurrent: ConcurrentOption = None,
    address: AddressOption = None,
) -> None:
    """Train configs on all folds, and give the cross-validated score.

    Example: `ell-tune retrain configs/*.yaml --train train.csv --out models/first`
    """
    set_ray_environment(address)
    from ell_tune.progress import make_display
    from ell_tune.pseudo_labels import pseudo_request
    from ell_tune.ray_cluster import connected, resources
    from ell_tune.retrain import prepare_retraining
    from ell_tune.retrain import retrain as run_retrain

    plan = prepare_retraining(configs, train, out, folds, pseudo_request(pseudo, pseudo_model))
    _print_pseudo(plan.pseudo)
    with connected(address) as dashboard:
        _print(dashboard)
        per_trial = resources(cpus_per_trial, gpus_per_trial, max_concurrent, joined=address is not None)
        cv = run_retrain(plan, per_trial, make_display(_out)).cv
    fold_scores = ", ".join(f"{score:.4f}" for score in cv["fold_scores"])
    _print(f"Out-of-fold MCRMSE {cv['score']:.4f}; by fold {fold_scores} (SD {cv['fold_sd']:.4f})")
    _print(f"Next: ell-tune predict {shlex.quote(str(out))} TEST.csv --out submission.csv")


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(metavar="MODEL_DIR", help="A folder of `ell-tune retrain`.")],
    test: Annotated[Path, typer.Argument(metavar="TEST.csv", help="Essays to score, in the columns of training.")],
    out: Annotated[Path, typer.Option(metavar="submission.csv", help="The CSV to write.")],
) -> None:
    """Score essays with the mean of all members, in the order of the file. Needs no network.

    Example: `ell-tune predict models/first test.csv --out submission.csv`
    """
    from ell_tune.predict import predict_file

    _print(f"Wrote {predict_file(model, test, out)} scored essays to {out}")


@app.command()
def score(
    model: Annotated[Path, typer.Argument(metavar="MODEL_DIR", help="A folder of `ell-tune retrain`.")],
    labelled: Annotated[Path, typer.Argument(metavar="LABELLED.csv", help="Scored essays that no member has seen.")],
    as_json: JsonOption = False,
) -> None:
    """Compare a model's scores with known ones: MCRMSE, and the RMSE of each target.

    Example: `ell-tune score models/first holdout.csv --json`
    """
    from ell_tune.predict import score_file

    result = score_file(model, labelled)
    if result.num_seen:
        _err.print(
            f"note: {result.num_seen} of these essays were used in training, so this score flatters the model; "
            f"its out-of-fold score is {result.oof_score:.4f}",
            style="yellow",
        )
    if as_json:
        print(json.dumps({"mcrmse": result.mcrmse, "rmse": result.rmse, "essays": result.num_essays}, indent=1))
        return
    _print(f"MCRMSE {result.mcrmse:.4f} on {result.num_essays} essays")
    for target, rmse in result.rmse.items():
        _print(f"  {target:<14} RMSE {rmse:.4f}")


@app.command("sample-data")
def sample_data(
    essays: Annotated[int, typer.Option(help="Scored essays to invent.")],
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same files.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder for train.csv and test.csv.")],
) -> None:
    """Invent learner essays with scores in the FB3 format, to try ell-tune on.

    Example: `ell-tune sample-data --essays 240 --seed 7 --out sample`
    """
    from ell_tune.sample_essays import write_sample_data

    for path in write_sample_data(essays, seed, out):
        _print(f"Wrote {path}")


def _print(line: str) -> None:
    _out.print(line, markup=False, highlight=False, soft_wrap=True)


def _print_pseudo(pseudo: "PseudoEssays | None") -> None:
    if pseudo is not None:
        _print(
            f"Pseudo-labels: {len(pseudo.essays)} essays, scored for each fold by the members of {pseudo.model_dir} "
            f"that were trained without it; {pseudo.num_dropped} dropped, which are training essays too"
        )


def _seconds(option: str, text: str | None) -> float:
    if text is None:
        return inf
    match = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", text.strip())
    hours, minutes, seconds = (int(part or 0) for part in match.groups()) if match else (0, 0, 0)
    total = 3600 * hours + 60 * minutes + seconds
    if total == 0:
        raise UserError(f"{option} takes a time above 0 such as 45s, 90m or 1h30m, but got {text!r}.")
    return float(total)


def main() -> None:
    """The entry point of the `ell-tune` command."""
    try:
        app()
    except UserError as error:
        _err.print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)
    except Interrupted:
        with undisturbed():  # by a second Ctrl-C
            _err.print("Interrupted. The same command goes on from where this one stopped.", soft_wrap=True)
        sys.exit(130)


if __name__ == "__main__":
    main()
