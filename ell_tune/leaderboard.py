"""`ell-tune leaderboard`: every trial of a study, the best first, each shown as what it is."""

from typing import Any

from rich.table import Table
from rich.text import Text

from ell_tune.progress import STYLES, distinguishing, duration
from ell_tune.ranking import ranked
from ell_tune.records import StudyRecord, TrialRecord, TrialState

_INTERRUPTED = "interrupted"


def as_rows(record: StudyRecord, is_searched: bool) -> list[dict[str, Any]]:
    """The leaderboard as plain data, one flat row a trial but for its config.

    Args:
        is_searched: whether a search of the study is alive; without one, no trial of it is running.
    """
    return [
        {
            "number": trial.number,
            "state": shown_state(trial, is_searched),
            "score": trial.score,
            "steps": trial.steps,
            "seconds": round(trial.seconds, 3),
            "reason": trial.reason,
            "config": dict(trial.config),
        }
        for trial in ranked(record.trials)
    ]


def as_table(record: StudyRecord, is_searched: bool) -> Table:
    """The leaderboard for a terminal; see `as_rows`."""
    table = Table(title=f"{record.name}: MCRMSE on one fold, lower is better", title_justify="left")
    for header, justify in (("trial", "right"), ("state", "left"), ("score", "right"), ("steps", "right")):
        table.add_column(header, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    table.add_column("time", justify="right", no_wrap=True)
    table.add_column("searched fields", overflow="fold")
    for trial in ranked(record.trials):
        fields = Text(distinguishing(trial))
        if trial.reason:
            fields.append(f"\n{trial.reason}", style="dim")
        state = shown_state(trial, is_searched)
        if state == _INTERRUPTED:
            fields.append("\nthe next `ell-tune search` into this study goes on with it", style="dim")
        table.add_row(
            str(trial.number),
            Text(state, style=STYLES[trial.state]),
            "-" if trial.score is None else f"{trial.score:.4f}",
            f"{trial.steps}/{record.num_steps}",
            duration(trial.seconds),
            fields,
        )
    return table


def shown_state(trial: TrialRecord, is_searched: bool) -> str:
    """A trial's state in words: without a search that is alive, no trial is running."""
    return _INTERRUPTED if trial.state == TrialState.RUNNING and not is_searched else str(trial.state)
