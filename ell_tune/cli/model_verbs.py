"""The verbs of a model: train it on all folds, predict, score; and invented essays to try it on."""

import json
import shlex
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
    TrainOption,
    err_console,
    out_console,
    print_line,
    print_pseudo,
)
from ell_tune.running.ray_environment import set_ray_environment


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
    from ell_tune.models.pseudo_labels import pseudo_request
    from ell_tune.running.ray_cluster import connected, resources
    from ell_tune.runs.retrain import prepare_retraining
    from ell_tune.runs.retrain import retrain as run_retrain
    from ell_tune.trials.progress import make_display

    plan = prepare_retraining(configs, train, out, folds, pseudo_request(pseudo, pseudo_model))
    print_pseudo(plan.pseudo)
    with connected(address) as dashboard:
        print_line(dashboard)
        per_trial = resources(cpus_per_trial, gpus_per_trial, max_concurrent, joined=address is not None)
        cv = run_retrain(plan, per_trial, make_display(out_console)).cv
    assert cv is not None  # only a search's own model lacks one
    fold_scores = ", ".join(f"{score:.4f}" for score in cv["fold_scores"])
    print_line(f"Out-of-fold MCRMSE {cv['score']:.4f}; by fold {fold_scores} (SD {cv['fold_sd']:.4f})")
    print_line(f"Next: ell-tune predict {shlex.quote(str(out))} TEST.csv --out submission.csv")


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(metavar="MODEL_DIR", help="A folder of `retrain`, or of `export --model`.")],
    test: Annotated[Path, typer.Argument(metavar="TEST.csv", help="Essays to score, in the columns of training.")],
    out: Annotated[Path, typer.Option(metavar="submission.csv", help="The CSV to write.")],
) -> None:
    """Score essays with the mean of all members, in the order of the file. Needs no network.

    Example: `ell-tune predict models/first test.csv --out submission.csv`
    """
    from ell_tune.models.predict import predict_file

    print_line(f"Wrote {predict_file(model, test, out)} scored essays to {out}")


@app.command()
def score(
    model: Annotated[Path, typer.Argument(metavar="MODEL_DIR", help="A folder of `retrain`, or of `export --model`.")],
    labelled: Annotated[Path, typer.Argument(metavar="LABELLED.csv", help="Scored essays that no member has seen.")],
    as_json: JsonOption = False,
) -> None:
    """Compare a model's scores with known ones: MCRMSE, and the RMSE of each target.

    Example: `ell-tune score models/first holdout.csv --json`
    """
    from ell_tune.models.predict import score_file

    result = score_file(model, labelled)
    if result.num_seen:
        honest = "" if result.oof_score is None else f"; its out-of-fold score is {result.oof_score:.4f}"
        err_console.print(
            f"note: {result.num_seen} of these essays were used in training, so this score flatters the model{honest}",
            style="yellow",
        )
    if as_json:
        print(json.dumps({"mcrmse": result.mcrmse, "rmse": result.rmse, "essays": result.num_essays}, indent=1))
        return
    print_line(f"MCRMSE {result.mcrmse:.4f} on {result.num_essays} essays")
    for target, rmse in result.rmse.items():
        print_line(f"  {target:<14} RMSE {rmse:.4f}")


@app.command("sample-data")
def sample_data(
    essays: Annotated[int, typer.Option(help="Scored essays to invent, at least 20.")],
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same files.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder for train.csv and test.csv.")],
) -> None:
    """Invent learner essays with scores in the FB3 format, to try ell-tune on.

    Example: `ell-tune sample-data --essays 240 --seed 7 --out sample`
    """
    from ell_tune.essays.sample_essays import write_sample_data

    for path in write_sample_data(essays, seed, out):
        print_line(f"Wrote {path}")
