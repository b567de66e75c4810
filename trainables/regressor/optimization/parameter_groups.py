"""The one table of all parameters: which learning rate and weight decay each has, and how long it is frozen.

What decays is decided by shape: matrices do, vectors (biases, the gains of LayerNorms, a pooling's few scalars) do not.
Names miss LayerNorms (the "gamma" and "beta" of BERT's first code are `LayerNorm.weight` now), and so do types
(DeBERTa's first version brings its own). Embeddings are matrices and decay, as in BERT (Devlin et al., 2019).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from trainables.regressor.config import Config
from trainables.regressor.encoder.layers import encoder_layers, parameter_depth
from trainables.regressor.losses import Loss
from trainables.regressor.model import Regressor
from trainables.regressor.optimization.optimizers import ParameterGroups


@dataclass(frozen=True, eq=False)
class ParameterRow:
    """Parameters of one part that are trained alike."""

    part: str  # "head" (with the pooling and its norm), "layer 12" … "layer 1", "embeddings", "loss"
    lr: float  # the peak of its schedule
    weight_decay: float
    frozen_epochs: float  # so many from the start: 0 where it is never frozen, infinite where always
    parameters: Mapping[str, nn.Parameter]  # by their names in the model or the loss


def parameter_table(model: Regressor, loss: Loss, config: Config) -> list[ParameterRow]:
    """Every parameter of the model and of the loss in exactly one row, from the head down.

    The encoder's rates follow `optimizer.layer_rates` from `optimizer.lr` down; embeddings and head may have their own.

    Raises:
        BadConfig: the backbone has fewer layers than the config wants groups of.
    """
    num_layers = len(encoder_layers(model.backbone))
    grouped: dict[tuple[int, bool], dict[str, nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        inside_backbone = name.startswith("backbone.")
        depth = parameter_depth(name.removeprefix("backbone.")) if inside_backbone else num_layers + 1
        grouped.setdefault((depth, parameter.ndim >= 2), {})[name] = parameter
    rows = []
    for (depth, decays), parameters in sorted(grouped.items(), key=lambda item: item[0], reverse=True):
        is_head = depth > num_layers
        rows.append(
            ParameterRow(
                part="head" if is_head else f"layer {depth}" if depth else "embeddings",
                lr=config.optimizer.head_lr if is_head else _encoder_lr(config, depth, num_layers),
                weight_decay=config.optimizer.weight_decay if decays else 0.0,
                frozen_epochs=0.0 if is_head else config.freeze.epochs(depth),
                parameters=parameters,
            )
        )
    if config.loss.uncertainty is not None:
        rows.append(ParameterRow("loss", config.loss.uncertainty.lr, 0.0, 0.0, dict(loss.named_parameters())))
    return rows


def freeze_parameters(table: list[ParameterRow], epoch: int) -> bool:
    """Takes the parameters that are frozen in `epoch` (from 0) out of training, all others into it; if any changed.

    A parameter without a gradient is left alone by every optimiser, its weight decay and moments included.
    """
    changed = False
    for row in table:
        for parameter in row.parameters.values():
            is_trained = epoch >= row.frozen_epochs
            changed |= parameter.requires_grad != is_trained
            parameter.requires_grad = is_trained
    return changed


def optimizer_groups(table: list[ParameterRow]) -> ParameterGroups:
    """The rows that are ever trained, as torch's parameter groups."""
    return [
        {"params": list(row.parameters.values()), "lr": row.lr, "weight_decay": row.weight_decay}
        for row in table
        if math.isfinite(row.frozen_epochs)
    ]


def _encoder_lr(config: Config, depth: int, num_layers: int) -> float:
    optimizer = config.optimizer
    if depth == 0 and optimizer.embeddings_lr is not None:
        return optimizer.embeddings_lr
    return float(optimizer.lr * optimizer.layer_rates.factor(depth, num_layers))
