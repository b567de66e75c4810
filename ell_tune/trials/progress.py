"""Live progress of a search or a retraining: a table on a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from typing import Any, Protocol

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ell_tune.trials.ranking import best_trial
from ell_tune.trials.records import TrialRecord, TrialState

STYLES = {
    TrialState.RUNNING: "cyan",
    TrialState.COMPLETE: "green",
    TrialState.STOPPED: "yellow",
    TrialState.FAILED: "red",
    TrialState.LOST: "magenta",
}
_NUM_ENDED_SHOWN = 8


@dataclass(frozen=True)
class Plan:
    """What is under way."""

    title: str
    unit: str  # what one job is called: trial, member
    num_jobs: int
    seconds: float = inf  # time left of the budget
    rungs: Callable[[int], Sequence[int]] = lambda num_steps: ()  # steps at which jobs of so many steps are compared


class Display(Protocol):
    """Shows jobs as they run."""

    def running(self, plan: Plan, trials: Sequence[TrialRecord]) -> Any:
        """A context manager: progress is shown inside it. `trials` are those that the study has already."""

    def changed(self, trial: TrialRecord) -> None:
        """Takes note of an event of one trial."""


def distinguishing(trial: TrialRecord) -> str:
    """What sets the trial apart from others: its searched fields, in one line."""
    return " ".join(f"{path}={short(value)}" for path, value in trial.params.items())


def short(value: Any) -> str:
    """A value as the leaderboard and the progress show it."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def duration(seconds: float) -> str:
    """`1h05m`, `3m20s`."""
    minutes, secs = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{secs:02d}s"


def make_display(console: Console) -> Display:
    """A live table where the console is a terminal, plain lines elsewhere."""
    return LiveDisplay(console) if console.is_terminal else PlainDisplay(console)


class _Progress:
    """What both displays know. It holds few trials, however many have ended: a search may have tens of thousands."""

    def __init__(self) -> None:
        self.plan = Plan("", "", 0)
        self.running: dict[int, TrialRecord] = {}
        self.last_ended: list[TrialRecord] = []  # those of the highest numbers, ascending
        self._ended: set[int] = set()
        self._best_ended: TrialRecord | None = None
        self._started_at = time.monotonic()
        self._num_done_before = 0

    def start(self, plan: Plan, trials: Sequence[TrialRecord]) -> None:
        self.plan = plan
        for trial in trials:
            self.note(trial)
        self._started_at = time.monotonic()
        self._num_done_before = self.num_done

    def note(self, trial: TrialRecord) -> None:
        if trial.state == TrialState.RUNNING:
            self.running[trial.number] = trial
            return
        self.running.pop(trial.number, None)
        self._ended.add(trial.number)
        self._best_ended = best_trial([trial] if self._best_ended is None else [self._best_ended, trial])
        self.last_ended = sorted([*self.last_ended, trial], key=lambda ended: ended.number)
        if len(self.last_ended) > _NUM_ENDED_SHOWN:
            del self.last_ended[0]

    @property
    def num_done(self) -> int:
        return len(self._ended)

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self._started_at

    @property
    def seconds_left(self) -> float:
        """As long as the jobs to come would take at the pace so far, within the budget."""
        num_done_now = self.num_done - self._num_done_before
        if num_done_now == 0:
            return self.plan.seconds - self.elapsed
        pace = self.elapsed / num_done_now
        return min(pace * max(self.plan.num_jobs - self.num_done, 0), self.plan.seconds - self.elapsed)

    def rung(self, trial: TrialRecord) -> str:
        """How many rungs the trial has reached, of how many."""
        rungs = self.plan.rungs(trial.num_steps)
        return f"{sum(step <= trial.steps for step in rungs)}/{len(rungs)}" if rungs else ""

    def headline(self) -> str:
        left = self.seconds_left
        parts = [
            f"{self.num_done}/{self.plan.num_jobs} {self.plan.unit}s done",
            f"elapsed {duration(self.elapsed)}",
            "time left unknown" if left == inf else f"about {duration(max(left, 0))} left",
        ]
        return " · ".join(parts)

    def leader(self) -> str:
        best = best_trial([*filter(None, [self._best_ended]), *self.running.values()])
        if best is None or best.score is None:
            return "no score yet"
        return f"best {best.score:.4f} ({self.plan.unit} {best.number}, {best.state}): {distinguishing(best)}"


class PlainDisplay:
    """One line for each event."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = _Progress()

    @contextmanager
    def running(self, plan: Plan, trials: Sequence[TrialRecord]) -> Iterator[None]:
        self._progress.start(plan, trials)
        self._print(f"{plan.title}: {self._progress.headline()}")
        yield
        self._print(f"{plan.title}: {self._progress.headline()} · {self._progress.leader()}")

    def changed(self, trial: TrialRecord) -> None:
        progress = self._progress
        progress.note(trial)
        if trial.score is None:
            what = f"starts: {distinguishing(trial)}" if trial.reason is None else trial.reason
        else:
            what = f"step {trial.steps}/{trial.num_steps}, best score {trial.score:.4f}"
            what += f" ({trial.reason})" if trial.reason else ""
        self._print(
            f"[{duration(progress.elapsed)}] {progress.plan.unit} {trial.number} {trial.state}: {what}"
            f" | {progress.num_done}/{progress.plan.num_jobs} done"
        )

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


class LiveDisplay:
    """A table of the trials in flight and the last ones that ended, drawn anew twice a second."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = _Progress()

    @contextmanager
    def running(self, plan: Plan, trials: Sequence[TrialRecord]) -> Iterator[None]:
        self._progress.start(plan, trials)
        with Live(self, console=self._console, refresh_per_second=2):
            yield

    def changed(self, trial: TrialRecord) -> None:
        self._progress.note(trial)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        progress = self._progress
        yield Text(f"{progress.plan.title} · {progress.headline()}", style="bold")
        yield Text(progress.leader(), style="green")
        table = Table("", "state", "step", "rung", "score", "config", box=None, header_style="dim", expand=True)
        running = sorted(progress.running.values(), key=lambda trial: trial.number)
        for trial in [*progress.last_ended, *running]:
            table.add_row(
                f"{progress.plan.unit} {trial.number}",
                Text(trial.state, style=STYLES[trial.state]),
                f"{trial.steps}/{trial.num_steps or '?'}",
                progress.rung(trial),
                "" if trial.score is None else f"{trial.score:.4f}",
                Text(distinguishing(trial) + (f" — {trial.reason}" if trial.reason else "")),
            )
        yield table
