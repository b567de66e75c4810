from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_bert import make_tiny_bert
from tiny_deberta import generate_essays, make_tiny_deberta

from ell_tune.trainable import FoldData
from trainables import regressor
from trainables.regressor.building import build_regressor
from trainables.regressor.model import Regressor


class FolderCheckpoints:
    """The contract's `Checkpoints` on a plain folder; keeps all that were saved, for tests to go back to."""

    def __init__(self, root: Path, saved: list[Path] | None = None) -> None:
        self.root = root
        self.saved = saved or []
        self.weights_dir.mkdir(parents=True, exist_ok=True)

    def latest(self) -> Path | None:
        return self.saved[-1] if self.saved else None

    def save(self, write: Callable[[Path], None]) -> None:
        folder = self.root / f"checkpoint_{len(self.saved)}"
        folder.mkdir()
        write(folder)
        self.saved.append(folder)

    @property
    def weights_dir(self) -> Path:
        return self.root / "weights"


@pytest.fixture(scope="session")
def tiny_deberta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_deberta(tmp_path_factory.mktemp("tiny_deberta"))


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bert(tmp_path_factory.mktemp("tiny_bert"))


@pytest.fixture(scope="session")
def essays() -> list[str]:
    return generate_essays(40, seed=1)


@pytest.fixture
def make_config(tiny_deberta: Path) -> Callable[..., regressor.Config]:
    """A config of the tiny backbone that learns in a few epochs; the sections given are laid over it."""

    def make(**sections: dict[str, Any] | None) -> regressor.Config:
        values: dict[str, Any] = {
            "backbone": {"name": str(tiny_deberta)},
            "text": {"max_length": 64},
            "optimizer": {"lr": 1e-3, "head_lr": 1e-2},
            "training": {"num_epochs": 2, "batch_size": 8, "evaluations": 4},
        }
        for name, section in sections.items():
            values[name] = section if section is None else values.get(name, {}) | section
        return regressor.Config.model_validate(values)

    return make


@pytest.fixture
def make_fold_data(essays: list[str]) -> Callable[..., FoldData]:
    """30 training and 10 validation essays, scored by how often each of two words comes up."""

    def make(config: regressor.Config, seed: int = 7) -> FoldData:
        share_NC = np.array([[e.count(word) / len(e.split()) for word in ("because", "good")] for e in essays])
        return FoldData(
            prepared=regressor.prepare(regressor.preparation(config), essays),
            labels_NC=(2 + 10 * share_NC).astype(np.float32),
            train_rows=np.arange(30),
            valid_rows=np.arange(30, 40),
            targets=("reasons", "praise"),
            score_range=(1.0, 5.0),
            seed=seed,
        )

    return make


@pytest.fixture
def make_model(make_config: Callable[..., regressor.Config], make_fold_data: Callable[..., FoldData]) -> Any:
    """The model of a config of two targets, before its first step."""

    def make(**sections: Any) -> Regressor:
        config = make_config(**sections)
        return build_regressor(config, make_fold_data(config).prepared, torch.zeros(2), (1.0, 5.0), seed=0)

    return make


@pytest.fixture
def make_checkpoints(tmp_path: Path) -> Callable[..., FolderCheckpoints]:
    """Fresh checkpoints in a folder of that name, or ones that go on from those saved before."""

    def make(name: str = "fit", saved: list[Path] | None = None) -> FolderCheckpoints:
        return FolderCheckpoints(tmp_path / name, saved)

    return make
