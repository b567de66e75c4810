"""Prints the table of parameters that a config trains: `python -m trainables.regressor.table FILE.yaml`.

FILE.yaml is one that `ell-tune export` wrote, or a space file, whose base config it is then (what the first trial
trains). Of a backbone only its config.json is read, no weights.
"""

import math
import re
import signal
import sys
from pathlib import Path

import torch

from ell_tune.choosing.search_spec import load_search_spec
from ell_tune.errors import BadConfig, UserError, told_under
from ell_tune.spaces.yaml_source import load_yaml
from ell_tune.studies.export import load_exported
from trainables.regressor.building import empty_regressor
from trainables.regressor.config import Config, path_of
from trainables.regressor.encoder.backbone_folder import find_backbone_folder
from trainables.regressor.losses import Loss
from trainables.regressor.optimization.parameter_groups import ParameterRow, parameter_table

_INSIDE = re.compile(r"^encoders\.\w+\.(backbone\.)?")  # what the column `part` says already
_RIGHT = ("peak lr", "decay", "numbers")  # columns of numbers


def table_of(config: Config, targets: tuple[str, ...]) -> list[ParameterRow]:
    """The table of a config, on a model without weights and without added tokens.

    Raises:
        BadConfig: a backbone cannot be had, the config does not fit its depth, or target weights are for other targets.
    """
    folders = {}
    for name, encoder in config.encoders.items():
        with told_under(path_of(name)):
            folders[name] = find_backbone_folder(encoder.backbone.name)
    with torch.device("meta"):
        any_range = (0.0, 1.0)
        model = empty_regressor(config, folders, torch.zeros(len(targets)), any_range)
        loss = Loss(config.loss, targets, any_range)
    return parameter_table(model, loss, config)


def render_table(table: list[ParameterRow]) -> str:
    """The table as text: a line for each row, in columns."""
    header = ("part", "peak lr", "decay", "frozen", "numbers", "parameters")
    lines = [header, *map(_cells, table)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if title in _RIGHT else cell.ljust(width)
            for title, cell, width in zip(header, cells, widths, strict=True)
        ).rstrip()
        for cells in lines
    )


def main(arguments: list[str]) -> int:
    """The command; returns its exit code."""
    if len(arguments) != 1:
        print(
            "Usage: python -m trainables.regressor.table FILE.yaml (a space file, or one of `ell-tune export`)",
            file=sys.stderr,
        )
        return 2
    try:
        config, targets = _read(Path(arguments[0]))
        print(render_table(table_of(config, targets)))
    except (BadConfig, UserError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _cells(row: ParameterRow) -> tuple[str, ...]:
    first, *others = (_INSIDE.sub("", name) for name in row.parameters)
    return (
        row.part,
        f"{row.lr:.3g}",
        f"{row.prior_decay:.3g} to prior" if row.prior_decay else f"{row.weight_decay:.3g}",
        {0.0: "no", 1.0: "1 epoch", math.inf: "yes"}.get(row.frozen_epochs, f"{row.frozen_epochs:.0f} epochs"),
        f"{sum(parameter.numel() for parameter in row.parameters.values()):,}",
        f"{first} and {len(others)} more" if others else first,
    )


def _read(path: Path) -> tuple[Config, tuple[str, ...]]:
    source = load_yaml(path, "Shipped spaces lie in search_spaces/; `ell-tune export DIR --out DIR` writes configs.")
    if "config" in source.data:
        exported = load_exported(path)
        name, config, data = exported.trainable_name, exported.config, exported.data
    else:
        spec = load_search_spec(path)
        name, data = spec.trainable_name, spec.data
        config = spec.trainable.Config.model_validate(spec.space.base)
    if not isinstance(config, Config):
        raise UserError(
            f"{source.where(('trainable',))}: the table is one of trainables.regressor, but this is a file of {name}. "
            f"Give a file of trainables.regressor."
        )
    return config, tuple(data.targets)


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` ends it
    sys.exit(main(sys.argv[1:]))
