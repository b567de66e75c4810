"""The state of a fit between two evaluations, and how it survives the process."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from ell_tune.trainable import Progress
from trainables.regressor.averaging import WeightAverage
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
    average: WeightAverage | None
    weights_dir: Path  # of the best weights
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

    def write(self, folder: Path) -> None:
        """Fills an empty folder with the state, after at least one evaluation."""
        assert self.best is not None and self.last_progress is not None
        trained = _trained(self.model)
        state: dict[str, Any] = {
            "step": self.step,
            "model": _tensors(self.model, trained),
            "loss": self.loss.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "random": torch.get_rng_state(),
            "last_progress": asdict(self.last_progress),
            "best_score": self.best.score,
            "best_oof_MC": torch.from_numpy(self.best.oof_MC),
        }
        if torch.cuda.is_available():
            state["cuda_random"] = torch.cuda.get_rng_state()
        if self.average is not None and self.average.averaged is not None:
            assert self.average.model is not None
            state["averaged"] = _tensors(self.average.model, trained)
            state["num_averaged"] = self.average.averaged.n_averaged
        torch.save(state, folder / _STATE)
        copy_weights(self.weights_dir, folder)

    def read(self, folder: Path) -> None:
        """Takes the state from a folder that `write` filled."""
        state = torch.load(folder / _STATE, map_location="cpu", weights_only=True)
        self.step = state["step"]
        self.last_progress = Progress(**state["last_progress"])
        _set_trained(self.model, state["model"])
        self.loss.load_state_dict(state["loss"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        if "averaged" in state:
            assert self.average is not None
            self.average.averaged = AveragedModel(self.model)
            self.average.averaged.n_averaged.copy_(state["num_averaged"])
            assert self.average.model is not None
            _set_trained(self.average.model, state["averaged"])
        copy_weights(folder, self.weights_dir)
        self.best = Best(state["best_score"], state["best_oof_MC"].numpy())
        torch.set_rng_state(state["random"])
        if torch.cuda.is_available():
            torch.cuda.set_rng_state(state["cuda_random"])


def _trained(model: Regressor) -> list[str]:
    # Parameters that are still frozen are the pretrained ones, which every fit loads anyway.
    return [name for name, parameter in model.named_parameters() if parameter.requires_grad]


def _tensors(model: Regressor, names: list[str]) -> dict[str, Tensor]:
    return {name: model.get_parameter(name).detach() for name in names}


@torch.no_grad()
def _set_trained(model: Regressor, tensors: dict[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        model.get_parameter(name).copy_(tensor)
