"""`ell-tune leaderboard`: every trial of a study, the best first, each shown as what it is."""

from collections.abc import Container
from typing import Any

from rich.table import Table
from rich.text import Text

from ell_tune.trials.front import front, trial_cost
from ell_tune.trials.progress import STYLES, distinguishing, duration
from ell_tune.trials.ranking import ranked
from ell_tune.trials.records import StudyRecord, TrialRecord, TrialState

_INTERRUPTED = "interrupted"


def as_rows(record: StudyRecord, is_searched: bool) -> list[dict[str, Any]]:
    """The leaderboard as plain data, one flat row a trial but for its config.

    Where the study's sampler has a cost, a row has the trial's, and whether it is on the front of score and cost.

    Args:
        is_searched: whether a search of the study is alive; without one, no trial of it is running.
    """
    on_front = {trial.number for trial in front(record)}

    def cost_and_front(trial: TrialRecord) -> dict[str, Any]:
        if record.cost is None:
            return {}
        return {"cost": trial_cost(trial, record.cost), "on_front": trial.number in on_front}

    return [
        {
            "number": trial.number,
            "state": shown_state(trial, is_searched),
            "score": trial.score,
            "steps": trial.steps,
            "seconds": round(trial.seconds, 3),
            **cost_and_front(trial),
            "reason": trial.reason,
            "fits_space": not trial.is_misfit,
            "config": dict(trial.config),
        }
        for trial in ranked(record.trials)
    ]


def as_table(record: StudyRecord, is_searched: bool) -> Table:
    """The leaderboard for a terminal; see `as_rows`."""
    title = f"{record.name}: MCRMSE on one fold, lower is better"
    headers = ["trial", "state", "score", "steps", "time"]
    if record.cost is not None:
        title += f"; the cost is {record.cost}, ◆ is on the front"
        headers += ["cost", "front"]
    table = Table(title=title, title_justify="left")
    for header in headers:
        table.add_column(header, justify="left" if header in ("state", "front") else "right", no_wrap=True)
    table.add_column("searched fields", overflow="fold")
    on_front = {trial.number for trial in front(record)}
    for trial in ranked(record.trials):
        fields = Text(distinguishing(trial))
        if trial.reason:
            fields.append(f"\n{trial.reason}", style="dim")
        if trial.is_misfit:
            fields.append("\nof the space before an edit; steers nothing now", style="dim")
        state = shown_state(trial, is_searched)
        if state == _INTERRUPTED:
            fields.append("\nthe next `ell-tune search` into this study goes on with it", style="dim")
        table.add_row(
            str(trial.number),
            Text(state, style=STYLES[trial.state]),
            "-" if trial.score is None else f"{trial.score:.4f}",
            f"{trial.steps}/{trial.num_steps or record.num_steps}",
            duration(trial.seconds),
            *([] if record.cost is None else _cost_and_mark(trial, record.cost, on_front)),
            fields,
        )
    return table


def _cost_and_mark(trial: TrialRecord, cost: str, on_front: Container[int]) -> tuple[str, str]:
    found = trial_cost(trial, cost)
    return "-" if found is None else f"{found:.4g}", "◆" if trial.number in on_front else ""


def shown_state(trial: TrialRecord, is_searched: bool) -> str:
    """A trial's state in words: without a search that is alive, no trial is running."""
    return _INTERRUPTED if trial.state == TrialState.RUNNING and not is_searched else str(trial.state)
