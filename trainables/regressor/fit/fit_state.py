"""The state of a fit between two evaluations, and how it survives the process."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ell_tune.trainable import FoldResult, Progress
from trainables.regressor.averaging.averages import WeightAverages
from trainables.regressor.averaging.parameter_values import parameter_values, set_parameters
from trainables.regressor.averaging.soup import CheckpointSoup
from trainables.regressor.losses import Loss
from trainables.regressor.model import Regressor
from trainables.regressor.weights import copy_weights, write_weights

_STATE = "state.pt"


@dataclass(frozen=True)
class Best:
    """The best evaluation so far; its weights lie in the weights folder."""

    score: float
    oof_MC: NDArray[np.float32]


@dataclass
class FitState:
    """All that changes during a fit. The rest follows from config, fold and seed."""

    model: Regressor
    loss: Loss
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    averages: WeightAverages
    soup: CheckpointSoup | None
    trained_names: Sequence[str]  # the model's parameters that are ever trained: others are as every fit loads them
    weights_dir: Path  # of the best weights
    micro_batch_size: int  # essays in memory at a time, as far as they have been found to fit
    step: int = 0  # optimiser steps done
    best: Best | None = None
    last_progress: Progress | None = None  # what the last evaluation reported

    def parameters(self) -> list[nn.Parameter]:
        """All that could be trained, frozen or not: the model's parameters and the loss's."""
        return [*self.model.parameters(), *self.loss.parameters()]

    def consider(self, candidate: Regressor, score: float, oof_MC: NDArray[np.float32]) -> None:
        """Makes an evaluated model the best one if it is better than all before it."""
        if self.best is None or score < self.best.score:
            write_weights(self.weights_dir, candidate)
            self.best = Best(score, oof_MC)

    def finish(self) -> FoldResult:
        """The result, after the last evaluation; what only a fit that goes on needs is gone then."""
        assert self.best is not None
        if self.soup is not None:
            self.soup.delete()
        return FoldResult(self.best.score, self.best.oof_MC, self.weights_dir)

    def write(self, folder: Path) -> None:
        """Fills an empty folder with the state, after at least one evaluation."""
        assert self.best is not None and self.last_progress is not None
        state: dict[str, Any] = {
            "step": self.step,
            "micro_batch_size": self.micro_batch_size,
            "model": parameter_values(self.model, self.trained_names),
            "loss": self.loss.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "averages": {
                name: {
                    "num_averaged": self.averages.by_name[name].num_averaged,
                    "model": parameter_values(model, self.trained_names),
                }
                for name, model in self.averages.models().items()
            },
            "random": torch.get_rng_state(),
            "last_progress": asdict(self.last_progress),
            "best_score": self.best.score,
            "best_oof_MC": torch.from_numpy(self.best.oof_MC),
        }
        if torch.cuda.is_available():
            state["cuda_random"] = torch.cuda.get_rng_state()
        if self.soup is not None:
            state["soup"] = self.soup.write(folder)
        torch.save(state, folder / _STATE)
        copy_weights(self.weights_dir, folder)

    def read(self, folder: Path) -> None:
        """Takes the state from a folder that `write` filled."""
        state = torch.load(folder / _STATE, map_location="cpu", weights_only=True)
        self.step = state["step"]
        self.micro_batch_size = state["micro_batch_size"]
        self.last_progress = Progress(**state["last_progress"])
        set_parameters(self.model, state["model"])
        self.loss.load_state_dict(state["loss"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        for name, saved in state["averages"].items():
            self.averages.by_name[name].begin(self.model, saved["num_averaged"])
            set_parameters(self.averages.models()[name], saved["model"])
        if self.soup is not None:
            self.soup.read(folder, state["soup"])
        copy_weights(folder, self.weights_dir)
        self.best = Best(state["best_score"], state["best_oof_MC"].numpy())
        torch.set_rng_state(state["random"])
        if torch.cuda.is_available():
            torch.cuda.set_rng_state(state["cuda_random"])
