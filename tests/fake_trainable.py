"""A trainable of milliseconds, with which the tests drive the whole platform.

Its score is a quadratic of `x` and `y` that falls with every evaluation; `y` is its size too. Its predictions are the
mean of the training labels and the pseudo-labels, so they depend on the fold.
"""

import json
import math
import os
import re
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ell_tune.config import StrictConfig, one_of, or_off
from ell_tune.errors import BadConfig, UserError
from ell_tune.trainable import Checkpoints, FoldData, FoldResult, Progress, Report

MEASURES = ("num_parameters", "seconds_per_essay")  # as far as a test reports them


class Plain(StrictConfig):
    name: Literal["plain"] = "plain"


class Curved(StrictConfig):
    name: Literal["curved"] = "curved"
    power: float = Field(2.0, ge=1, le=4)


class Bonus(StrictConfig):
    amount: float = Field(0.1, ge=0, le=1)


class Config(StrictConfig):
    x: float = Field(0.0, ge=-10, le=10, description="the best is 3")
    y: int = Field(0, ge=0, le=5, description="the best is 2")
    shape: one_of(Plain, Curved) = Plain()  # type: ignore[valid-type]
    bonus: or_off(Bonus) = None  # type: ignore[valid-type]
    evaluations: int = Field(4, ge=1)
    seconds_per_step: float = Field(0.0, ge=0)
    fault: str = Field(
        "none",
        description="none, nan, inf, -inf, bad_config, out_of_memory, memory_error, user_error, "
        "user_error_in_prepare, bug, kill, or, until there is a file PATH, which it makes, kill_once:PATH or "
        "hang_once:PATH",
    )
    trace: str = Field("", description="file to which each fit adds its trial, its pid and its first evaluation")


class OutOfMemoryError(RuntimeError):
    """What torch's class of this name is to the platform, which imports no torch."""


class Preparation(StrictConfig):
    fails: bool


def preparation(config: Config) -> Preparation:
    return Preparation(fails=config.fault == "user_error_in_prepare")


def prepare(preparation: Preparation, essays: Sequence[str]) -> Any:
    if preparation.fails:
        raise UserError("no tokenizer can be had")
    return np.array([len(essay) for essay in essays])


def fit(config: Config, fold_data: FoldData, checkpoints: Checkpoints, report: Report) -> FoldResult:
    assert len(fold_data.prepared) == len(fold_data.labels_NC)
    first, best = 1, math.inf
    saved = checkpoints.latest()
    if saved is not None:
        state = json.loads((saved / "state.json").read_text())
        first, best = state["step"], state["best"]
    if config.trace:
        with open(config.trace, "a") as trace:
            trace.write(f"{_trial_in_process_title():.0f} {os.getpid()} {first}\n")
    for step in range(first, config.evaluations + 1):
        time.sleep(config.seconds_per_step)
        score = _score(config, step)
        best = min(best, score)
        text = json.dumps({"step": step, "best": best})
        checkpoints.save(lambda directory, text=text: (directory / "state.json").write_text(text) and None)
        _fail(config.fault, step)
        told = float(config.fault) if config.fault in ("nan", "inf", "-inf") else score
        report(Progress(step, config.evaluations, told, _metrics(config, fold_data)))
    mean_C = fold_data.labels_NC[np.concatenate([fold_data.train_rows, fold_data.pseudo_rows])].mean(axis=0)
    (checkpoints.weights_dir / "mean.json").write_text(json.dumps([float(mean) for mean in mean_C]))
    pseudo = {
        "lengths": fold_data.prepared[fold_data.pseudo_rows].tolist(),
        "labels": fold_data.labels_NC[fold_data.pseudo_rows].tolist(),
    }
    (checkpoints.weights_dir / "pseudo.json").write_text(json.dumps(pseudo))
    oof_MC = np.tile(mean_C, (len(fold_data.valid_rows), 1)).astype(np.float32)
    return FoldResult(best, oof_MC, checkpoints.weights_dir)


def _metrics(config: Config, fold_data: FoldData) -> dict[str, float]:
    """The size of the model, and what a test wants to know of the process that a fit runs in."""
    return {
        "num_parameters": 1000.0 * (1 + config.y),
        "pid": float(os.getpid()),
        "omp_num_threads": float(os.environ.get("OMP_NUM_THREADS", "nan")),
        "num_prepared": float(len(fold_data.prepared)),
        "trial_in_process_title": _trial_in_process_title(),
    }


def _trial_in_process_title() -> float:
    title = re.match(r"ray::trial-(\d+)", Path("/proc/self/cmdline").read_text())
    return float(title[1]) if title else math.nan


def _score(config: Config, step: int) -> float:
    distance = abs(config.x - 3) ** (config.shape.power if isinstance(config.shape, Curved) else 2)
    bonus = 0.0 if config.bonus is None else config.bonus.amount
    return 0.4 + 0.01 * distance + 0.02 * abs(config.y - 2) + 0.2 / step - 0.01 * bonus


def _fail(fault: str, step: int) -> None:
    kind, _, path = fault.partition(":")
    if step < 2:
        return
    if kind == "bad_config":
        raise BadConfig("it does not fit")
    if kind == "out_of_memory":
        raise OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nSee the documentation.")
    if kind == "memory_error":
        raise MemoryError
    if kind == "user_error":
        raise UserError("the hub cannot be reached")
    if kind == "bug":
        raise RuntimeError("an error of ours")
    if kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "hang_once" and not Path(path).exists():
        Path(path).touch()
        threading.Event().wait()
    if kind == "kill_once" and not Path(path).exists():
        Path(path).touch()
        os.kill(os.getpid(), signal.SIGKILL)


def predict(weights_dir: Path, essays: Sequence[str]) -> NDArray[np.float32]:
    mean_C = np.array(json.loads((weights_dir / "mean.json").read_text()), dtype=np.float32)
    return np.tile(mean_C, (len(essays), 1))
