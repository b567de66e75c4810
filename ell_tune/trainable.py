"""The contract between the platform and what it tunes.

A trainable is a module, named in a YAML by its dotted name, with these five names:

- `Config`: a strict pydantic model (`ell_tune.config.StrictConfig`) of every hyperparameter.
- `preparation(config) -> StrictConfig`: the part of the config that preparing the essays depends on.
- `prepare(preparation, essays) -> Any`: what every trial with that preparation shares (tokenised essays, say).
  It is computed once per study, put into Ray's object store and handed to `fit` as `FoldData.prepared`.
- `fit(config, fold_data, checkpoints, report) -> FoldResult`: trains one config on one fold with one seed.
- `predict(weights_dir, essays) -> scores_NC`: scores essays with what `fit` left in `FoldResult.weights_dir`,
  without a network.

One whose evaluations report some of `ell_tune.trainable.MEASURES` names those in a `MEASURES` of its own, so that
`study.constraints` may limit them.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from ell_tune.config import StrictConfig
from ell_tune.errors import UserError

# Metrics of `Progress` that the platform reads: a study records them, and `study.constraints` limits them. The worker
# adds the process's own peak memory where a trainable reports none.
MEASURES = ("num_parameters", "peak_memory_mib", "seconds_per_essay")


@dataclass(frozen=True)
class FoldData:
    """One fold of an essay set. N essays, C targets; after the labelled essays there may be some with pseudo-labels."""

    prepared: Any  # what `prepare` returned for all N essays, in their order
    labels_NC: NDArray[np.float32]
    train_rows: NDArray[np.int64]
    valid_rows: NDArray[np.int64]
    targets: tuple[str, ...]
    score_range: tuple[float, float]
    seed: int
    # The essays with pseudo-labels: scores by earlier models that were trained without `valid_rows`.
    pseudo_rows: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))


@dataclass(frozen=True)
class Progress:
    """One evaluation on the validation rows. Evaluations lie at fixed fractions of the schedule."""

    step: int  # 1 … num_steps
    num_steps: int
    score: float  # MCRMSE of this evaluation; NaN or infinite where training diverged
    metrics: Mapping[str, float] = field(default_factory=dict)  # for trackers, e.g. train_loss; see `MEASURES`


@dataclass(frozen=True)
class FoldResult:
    """The best evaluation of a fit."""

    score: float
    oof_MC: NDArray[np.float32]  # predictions for `FoldData.valid_rows`, in their order, unclipped
    weights_dir: Path  # all that `predict` needs


class Checkpoints(Protocol):
    """Where a fit keeps the state that lets it go on after its process dies, and its best weights."""

    def latest(self) -> Path | None:
        """A directory with what the last `save` wrote, or None for a fresh start."""

    def save(self, write: Callable[[Path], None]) -> None:
        """Lets `write` fill an empty directory, which then takes the place of the last one at once.

        A fit saves before it reports an evaluation, and one that goes on from `latest` first reports that evaluation
        once more: its process may have died in between. The platform ignores what it has heard already.
        """

    @property
    def weights_dir(self) -> Path:
        """An existing local directory for the best weights so far; it may hold an older fit's files."""


Report = Callable[[Progress], None]


class Trainable(Protocol):
    """A module with the five names above."""

    Config: type[StrictConfig]

    def preparation(self, config: StrictConfig) -> StrictConfig: ...

    def prepare(self, preparation: StrictConfig, essays: Sequence[str]) -> Any: ...

    def fit(
        self, config: StrictConfig, fold_data: FoldData, checkpoints: Checkpoints, report: Report
    ) -> FoldResult: ...

    def predict(self, weights_dir: Path, essays: Sequence[str]) -> NDArray[np.float32]: ...


def measured(trainable: Trainable) -> frozenset[str]:
    """Those of `MEASURES` that evaluations of a trainable report: the ones that it names, and the worker's."""
    named: Sequence[str] = getattr(trainable, "MEASURES", ())
    return frozenset({*named, "peak_memory_mib"})


_CONTRACT = ("Config", "preparation", "prepare", "fit", "predict")


def load_trainable(dotted_name: str) -> Trainable:
    """Imports a trainable by its dotted module name.

    Raises:
        UserError: no such module, or a module without one of the contract's names.
    """
    if not all(part.isidentifier() for part in dotted_name.split(".")):
        raise UserError(
            f"trainable: a dotted module name is needed, such as 'trainables.regressor', but got {dotted_name!r}. "
            f"A file's folder goes on PYTHONPATH, and its name without '.py' here."
        )
    try:
        module: ModuleType = importlib.import_module(dotted_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{dotted_name}.".startswith(f"{error.name}."):
            raise  # the module is there, but lacks something that it imports
        raise UserError(
            f"trainable: a dotted module name that can be imported is needed, but there is no module "
            f"{error.name!r} (got {dotted_name!r}). ell-tune ships 'trainables.regressor' and "
            f"'trainables.frozen_features'; for your own, put its folder on PYTHONPATH."
        ) from None
    missing = [name for name in _CONTRACT if not hasattr(module, name)]
    if missing:
        raise UserError(
            f"trainable: the module {dotted_name!r} must define {', '.join(_CONTRACT)}, but it lacks "
            f"{', '.join(missing)}. ell_tune/trainable.py describes the contract."
        )
    return cast(Trainable, module)
