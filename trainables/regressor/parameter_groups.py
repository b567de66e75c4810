"""The one table of all parameters: which learning rate and weight decay each has, and which are frozen.

Layer-wise learning-rate decay (LLRD): Howard & Ruder (2018), Universal Language Model Fine-tuning.
"""

from dataclasses import dataclass
from typing import Any

from pydantic import Field

from ell_tune.config import StrictConfig
from ell_tune.errors import BadConfig
from trainables.regressor.backbone import encoder_layers, parameter_depth
from trainables.regressor.model import Regressor
from trainables.regressor.optimization import OptimizerConfig


class FreezeConfig(StrictConfig):
    """What keeps its pretrained weights."""

    embeddings: bool = Field(default=False, description="freeze the embeddings, relative positions included")
    num_layers: int = Field(default=0, ge=0, le=48, description="freeze the encoder's bottom so many layers")
    keep_states: bool = Field(
        default=True,
        description="keep what frozen layers say of each essay in files that all fits on a machine share",
    )


@dataclass(frozen=True)
class ParameterRow:
    """Parameters of one part of the model that are trained alike."""

    part: str  # "head" (with the pooling and its norm), "layer 12" … "layer 1", "embeddings"
    lr: float  # the peak of its schedule
    weight_decay: float
    frozen: bool
    parameter_names: tuple[str, ...]


def parameter_table(model: Regressor, optimizer: OptimizerConfig, freeze: FreezeConfig) -> list[ParameterRow]:
    """Every parameter of the model in exactly one row, from the head down.

    The top layer has `optimizer.lr`, each layer below `optimizer.layer_decay` times the rate of the one
    above, the embeddings come last; the head has its own rate. Only matrices decay: not biases, LayerNorms or
    the few scalars of a pooling.
    """
    num_layers = len(encoder_layers(model.backbone))
    names: dict[tuple[int, bool], list[str]] = {}
    for name, parameter in model.named_parameters():
        inside_backbone = name.startswith("backbone.")
        depth = parameter_depth(name.removeprefix("backbone.")) if inside_backbone else num_layers + 1
        names.setdefault((depth, parameter.ndim >= 2), []).append(name)
    rows = []
    for (depth, decays), row_names in sorted(names.items(), reverse=True):
        is_head = depth > num_layers
        rows.append(
            ParameterRow(
                part="head" if is_head else f"layer {depth}" if depth else "embeddings",
                lr=optimizer.head_lr if is_head else optimizer.lr * optimizer.layer_decay ** (num_layers - depth),
                weight_decay=optimizer.weight_decay if decays else 0.0,
                frozen=freeze.embeddings if depth == 0 else depth <= freeze.num_layers,
                parameter_names=tuple(row_names),
            )
        )
    return rows


def freeze_parameters(model: Regressor, table: list[ParameterRow]) -> None:
    """Takes the frozen rows' parameters out of training."""
    for row in table:
        for name in row.parameter_names:
            model.get_parameter(name).requires_grad = not row.frozen


def optimizer_groups(model: Regressor, table: list[ParameterRow]) -> list[dict[str, Any]]:
    """The rows that are trained, as torch's parameter groups."""
    return [
        {
            "params": [model.get_parameter(name) for name in row.parameter_names],
            "lr": row.lr,
            "weight_decay": row.weight_decay,
        }
        for row in table
        if not row.frozen
    ]


def check_layers(freeze_num_layers: int, reinit_num_layers: int, num_layers: int) -> None:
    """Refuses to freeze or reinitialise layers that the backbone does not have, or the same layer twice.

    Raises:
        BadConfig: the two add up to more than the backbone's layers.
    """
    if freeze_num_layers + reinit_num_layers > num_layers:
        raise BadConfig(
            f"freeze.num_layers + reinit.num_layers: together at most the backbone's number of layers, which "
            f"is {num_layers}, for a layer of random weights must not be frozen; but freeze.num_layers is "
            f"{freeze_num_layers} and reinit.num_layers is {reinit_num_layers}. Lower one of them."
        )
