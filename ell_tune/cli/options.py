"""What several verbs share: their options, the two consoles, and the reading of a time."""

import re
from math import inf, isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from ell_tune.errors import UserError
from ell_tune.spaces.yaml_source import parse_setting

if TYPE_CHECKING:
    from ell_tune.models.pseudo_labels import PseudoEssays

_SIZE_UNITS = ("B", "KB", "MB", "GB", "TB")

out_console = Console()
err_console = Console(stderr=True)


def _well_formed(settings: list[str] | None) -> list[str] | None:
    """Refuses a setting that is no PATH=VALUE before the seconds of imports that its path is looked up with."""
    for setting in settings or []:
        parse_setting(setting)
    return settings


def finite(number: float | None) -> float | None:
    """The number that an option gives. Raises `typer.BadParameter`: it is infinite, or none."""
    if number is not None and not isfinite(number):
        raise typer.BadParameter(f"a finite number is needed, not {number}")
    return number


TrainOption = Annotated[Path, typer.Option("--train", help="CSV of scored essays.", metavar="TRAIN.csv")]
SettingsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="PATH=VALUE", callback=_well_formed, help="Fix a field; may be given more than once."
    ),
]
CpusOption = Annotated[
    float, typer.Option(min=0.1, callback=finite, help="CPUs, and with them threads, of each trial.")
]
GpusOption = Annotated[
    float | None,
    typer.Option(
        min=0.0, callback=finite, help="GPUs of each trial; 0.5 puts two on one. Default: 1 where there are any."
    ),
]
ConcurrentOption = Annotated[
    int | None, typer.Option("--max-concurrent", min=1, help="Trials at a time. Default: as many as fit.")
]
AddressOption = Annotated[
    str | None, typer.Option(help="A running Ray cluster: auto or HOST:6379. Default: this machine.")
]
PseudoOption = Annotated[
    Path | None, typer.Option("--pseudo", help="Essays without scores to pre-train on.", metavar="UNLABELLED.csv")
]
PseudoModelOption = Annotated[
    Path | None,
    typer.Option(
        "--pseudo-model", help="The model that scores them: of the same essays and folds.", metavar="MODEL_DIR"
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def print_line(line: str) -> None:
    """Prints a line as it is, however long."""
    out_console.print(line, markup=False, highlight=False, soft_wrap=True)


def print_pseudo(pseudo: "PseudoEssays | None") -> None:
    """Says what pseudo-labels a command has, if any."""
    if pseudo is not None:
        print_line(
            f"Pseudo-labels: {len(pseudo.essays)} essays, scored for each fold by the members of {pseudo.model_dir} "
            f"that were trained without it; {pseudo.num_dropped} dropped, which are training essays too"
        )


def bytes_of(option: str, text: str | None) -> float | None:
    """The size that an option gives (500MB, 20GB, 1.5TB; powers of 1000); None without one.

    Raises:
        UserError: it is no such size, or none at all.
    """
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMGT]?B)", text.strip(), re.IGNORECASE)
    size = float(match[1]) * 1000 ** _SIZE_UNITS.index(match[2].upper()) if match else 0.0
    if size == 0:
        raise UserError(f"{option} takes a size above 0 such as 500MB, 20GB or 1.5TB, but got {text!r}.")
    return size


def score_of(option: str, score: float | None) -> float:
    """The score that an option gives; one that is never reached without it.

    Raises:
        UserError: it is no finite number.
    """
    if score is None:
        return -inf
    if not isfinite(score):
        raise UserError(f"{option} takes a score such as 0.45, but got {score}.")
    return score


def seconds_of(option: str, text: str | None) -> float:
    """The time that an option gives (45s, 90m, 1h30m); endless without one.

    Raises:
        UserError: it is no such time, or none at all.
    """
    if text is None:
        return inf
    match = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", text.strip())
    hours, minutes, seconds = (int(part or 0) for part in match.groups()) if match else (0, 0, 0)
    total = 3600 * hours + 60 * minutes + seconds
    if total == 0:
        raise UserError(f"{option} takes a time above 0 such as 45s, 90m or 1h30m, but got {text!r}.")
    return float(total)
