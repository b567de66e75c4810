"""Studies made up for the tests: a search whose score depends on the learning rate and on nothing else."""

import dataclasses
import math
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from ell_tune.trials.records import StudyRecord, TrialRecord, TrialState

NUM_STEPS = 8
RUNGS = (4, 6)
SEARCHED = (
    "optimizer.lr",
    "optimizer.llrd",
    "pooling",
    "pooling[lstm].hidden_size",
    "loss.name",
    "backbone.reinit_layers",
    "freeze_embeddings",
    "swa",
)
_LOST = 7  # the trial of a search that breaks off with its worker
START = datetime(2026, 3, 1, 9, tzinfo=UTC)


def trial(number: int, score: float | None = 0.46, **changes: Any) -> TrialRecord:
    """A complete trial with a flat curve at its score, or what `changes` make of it."""
    record = TrialRecord(
        number=number,
        state=TrialState.COMPLETE,
        score=score,
        steps=0 if score is None else NUM_STEPS,
        num_steps=0 if score is None else NUM_STEPS,
        seconds=60.0,
        device_seconds=60.0,
        measures={},
        curve={} if score is None else dict.fromkeys(range(1, NUM_STEPS + 1), score),
        config={},
        params={},
        reason=None,
        started=START + timedelta(minutes=number),
        ended=START + timedelta(minutes=number + 1),
        schedule_seconds=60.0,
    )
    return dataclasses.replace(record, **changes)


def study(*trials: TrialRecord, **changes: Any) -> StudyRecord:
    """A study of these trials."""
    record = StudyRecord(
        name="fb3 base",
        trials=trials,
        searched=SEARCHED,
        num_steps=NUM_STEPS,
        rungs=RUNGS,
        provenance={"data": {"sha256": "9f2c", "rows": 3911}, "seed": 7, "versions": {"ray": "2.60.0"}},
    )
    return dataclasses.replace(record, **changes)


def search(num_trials: int, seed: int = 0) -> StudyRecord:
    """A search with stopped, failed, lost and (last) running trials, best at a learning rate of 2e-5."""
    rng = np.random.default_rng(seed)
    trials: list[TrialRecord] = []
    start = START
    for number in range(num_trials):
        config = _draw_config(rng) if number else _config(2e-5, 0.9, "mean", None, "mse", 0, False, None)
        record = _run(number, config, trials, rng, running=0 < number == num_trials - 1)
        ended = start + timedelta(seconds=record.seconds)
        trials.append(
            dataclasses.replace(record, started=start, ended=None if record.state == TrialState.RUNNING else ended)
        )
        start = ended
    return study(*trials)


def _draw_config(rng: np.random.Generator) -> dict[str, Any]:
    pooling = str(rng.choice(["mean", "attention", "lstm"]))
    return _config(
        lr=float(np.exp(rng.uniform(math.log(3e-6), math.log(3e-4)))),
        llrd=float(rng.uniform(0.7, 1.0)),
        pooling=pooling,
        hidden_size=int(rng.choice([128, 256, 512])) if pooling == "lstm" else None,
        loss=str(rng.choice(["mse", "smooth_l1"])),
        reinit_layers=int(rng.integers(0, 4)),
        freeze=bool(rng.integers(2)),
        swa={"start_frac": 0.75, "lr_factor": 0.5} if rng.random() < 0.5 else None,
    )


def _config(
    lr: float,
    llrd: float,
    pooling: str,
    hidden_size: int | None,
    loss: str,
    reinit_layers: int,
    freeze: bool,
    swa: dict[str, float] | None,
) -> dict[str, Any]:
    pooling_config = {"name": pooling} | ({} if hidden_size is None else {"hidden_size": hidden_size})
    return {
        "optimizer": {"lr": lr, "llrd": llrd, "batch_size": 8},
        "pooling": pooling_config,
        "loss": {"name": loss},
        "backbone": {"name": "microsoft/deberta-v3-base", "reinit_layers": reinit_layers},
        "freeze_embeddings": freeze,
        "swa": swa,
    }


def _params(config: dict[str, Any]) -> dict[str, Any]:
    params = {
        "optimizer.lr": config["optimizer"]["lr"],
        "optimizer.llrd": config["optimizer"]["llrd"],
        "pooling": config["pooling"]["name"],
        "loss.name": config["loss"]["name"],
        "backbone.reinit_layers": config["backbone"]["reinit_layers"],
        "freeze_embeddings": config["freeze_embeddings"],
        "swa": config["swa"],
    }
    if "hidden_size" in config["pooling"]:
        params["pooling[lstm].hidden_size"] = config["pooling"]["hidden_size"]
    return params


def _run(
    number: int, config: dict[str, Any], earlier: list[TrialRecord], rng: np.random.Generator, running: bool
) -> TrialRecord:
    """Trains a made-up config: stopped at a rung below the upper half of those that got there before it."""
    lr = config["optimizer"]["lr"]
    asymptote = 0.452 + 0.004 * abs(math.log(lr / 2e-5)) + rng.normal(0, 0.0008)
    curve: dict[int, float] = {}
    state, reason = TrialState.COMPLETE, None
    for step in range(1, NUM_STEPS + 1):
        if lr > 2e-4:
            state, reason = TrialState.FAILED, f"the loss is not finite at evaluation {step}"
            break
        curve[step] = asymptote + 0.09 * math.exp(-0.9 * step) + rng.normal(0, 0.0005)
        rivals = sorted(min(s for at, s in t.curve.items() if at <= step) for t in earlier if t.steps >= step)
        if step in RUNGS and len(rivals) >= 3 and min(curve.values()) > rivals[len(rivals) // 2]:
            state, reason = TrialState.STOPPED, f"not in the best half at rung {step}"
            break
        if number == _LOST and step == 2:
            state, reason = TrialState.LOST, "its worker or node was lost 4 times"
            break
        if running and step == 3:
            state = TrialState.RUNNING
            break
    return trial(
        number,
        score=min(curve.values(), default=None),
        state=state,
        steps=len(curve),
        seconds=20.0 + 95.0 * len(curve),
        curve=curve,
        config=config,
        params=_params(config),
        reason=reason,
    )
