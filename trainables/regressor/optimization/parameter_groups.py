"""The one table of all parameters: which learning rate and weight decay each has, and how long it is frozen.

What decays is decided by shape: matrices do, vectors (biases, the gains of LayerNorms, a pooling's few scalars) do not.
Names miss LayerNorms (the "gamma" and "beta" of BERT's first code are `LayerNorm.weight` now), and so do types
(DeBERTa's first version brings its own). Embeddings are matrices and decay, as in BERT (Devlin et al., 2019).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from ell_tune.errors import told_under
from trainables.regressor.config import Config, path_of
from trainables.regressor.encoder.layers import parameter_depth
from trainables.regressor.encoder.reinit import pretrained_parameters
from trainables.regressor.losses import Loss
from trainables.regressor.model import Regressor
from trainables.regressor.optimization.optimizers import ParameterGroups


@dataclass(frozen=True, eq=False)
class ParameterRow:
    """Parameters of one part that are trained alike."""

    part: str  # "head" (with poolings and norms), "layer 12" … "layer 1", "embeddings", "second layer 6" …, "loss"
    lr: float  # the peak of its schedule
    weight_decay: float  # towards 0
    prior_decay: float  # towards the pretrained weights, in place of the other; see `prior_decay.py`
    frozen_epochs: float  # so many from the start: 0 where it is never frozen, infinite where always
    parameters: Mapping[str, nn.Parameter]  # by their names in the model or the loss


def parameter_table(model: Regressor, loss: Loss, config: Config) -> list[ParameterRow]:
    """Every parameter of the model and of the loss in exactly one row, from the head down.

    An encoder's rates fall from `optimizer.lr` as `optimizer.layer_rates` says; embeddings and head may have their own.

    Raises:
        BadConfig: a backbone has fewer layers than the config wants groups of.
    """
    encoder_rows = [row for name in model.encoders for row in _encoder_rows(name, model, config)]
    inside_encoders = {name for row in encoder_rows for name in row.parameters}
    head = {name: parameter for name, parameter in model.named_parameters() if name not in inside_encoders}
    rows = [*_rows("head", config.optimizer.head_lr, 0.0, head, config.optimizer.weight_decay), *encoder_rows]
    if config.loss.uncertainty is not None:
        rows.append(ParameterRow("loss", config.loss.uncertainty.lr, 0.0, 0.0, 0.0, dict(loss.named_parameters())))
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
    """The rows that are ever trained, as torch's parameter groups; those drawn back have a `prior_decay`."""
    return [
        {
            "params": list(row.parameters.values()),
            "lr": row.lr,
            "weight_decay": row.weight_decay,
            **({"prior_decay": row.prior_decay} if row.prior_decay else {}),
        }
        for row in table
        if math.isfinite(row.frozen_epochs)
    ]


def _encoder_rows(name: str, model: Regressor, config: Config) -> list[ParameterRow]:
    """The rows of an encoder without its pooling, from the top layer down."""
    encoder, encoder_config = model.encoders[name], config.encoders[name]
    by_depth: dict[int, dict[str, nn.Parameter]] = {}
    for inner_name, parameter in encoder.backbone.named_parameters():
        full_name = f"encoders.{name}.backbone.{inner_name}"
        by_depth.setdefault(parameter_depth(inner_name), {})[full_name] = parameter
    prefix = "" if name == "first" else f"{name} "
    pretrained = pretrained_parameters(encoder.backbone, encoder_config.reinit)
    rows = []
    for depth, parameters in sorted(by_depth.items(), reverse=True):
        with told_under(path_of(name)):
            lr = encoder_config.optimizer.peak(depth, encoder.num_layers)
        part = prefix + (f"layer {depth}" if depth else "embeddings")
        frozen_epochs = encoder_config.freeze.epochs(depth)
        drawn_back: dict[str, nn.Parameter] = {}
        if config.prior_decay is not None and math.isfinite(frozen_epochs):
            drawn_back = {key: p for key, p in parameters.items() if p.ndim >= 2 and p in pretrained}
        if drawn_back and config.prior_decay is not None:
            rows.append(ParameterRow(part, lr, 0.0, config.prior_decay.strength, frozen_epochs, drawn_back))
        others = {key: parameter for key, parameter in parameters.items() if key not in drawn_back}
        rows += _rows(part, lr, frozen_epochs, others, config.optimizer.weight_decay)
    return rows


def _rows(
    part: str, lr: float, frozen_epochs: float, parameters: Mapping[str, nn.Parameter], weight_decay: float
) -> list[ParameterRow]:
    """A part's row of matrices, which decay, and its row of vectors, which do not; either where there are some."""
    matrices = {name: parameter for name, parameter in parameters.items() if parameter.ndim >= 2}
    vectors = {name: parameter for name, parameter in parameters.items() if name not in matrices}
    return [
        ParameterRow(part, lr, decay, 0.0, frozen_epochs, alike)
        for decay, alike in ((weight_decay, matrices), (0.0, vectors))
        if alike
    ]
