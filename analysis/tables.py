"""The report's tables: what differs between configs, and the leaderboard, as text ready to be escaped."""

from collections.abc import Sequence
from dataclasses import dataclass

from analysis.fields import ABSENT, differences, flatten, short_labels, show
from ell_tune.trials.ranking import ranked
from ell_tune.trials.records import StudyRecord, TrialRecord, TrialState


@dataclass(frozen=True)
class Cell:
    """One config value of a leaderboard row."""

    text: str
    differs: bool  # from the base config


@dataclass(frozen=True)
class LeaderboardRow:
    """One trial as the leaderboard shows it."""

    number: int
    state: TrialState
    score: str
    steps: str
    time: str
    reason: str
    cells: Sequence[Cell]  # one per column of the leaderboard


@dataclass(frozen=True)
class Leaderboard:
    """Every trial, best first, with the config fields in which any trial differs from the base config."""

    columns: Sequence[tuple[str, str]]  # dotted path, short label
    rows: Sequence[LeaderboardRow]


def leaderboard_table(study: StudyRecord) -> Leaderboard:
    """Builds the leaderboard. The base config is that of the first trial."""
    base = study.trials[0].config
    # A dict, not a set: columns keep the order in which the fields first differ.
    paths = list(dict.fromkeys(path for t in study.trials for path in differences(t.config, base)))
    labels = short_labels(paths)

    def row(trial: TrialRecord) -> LeaderboardRow:
        config = flatten(trial.config)
        differing = differences(trial.config, base)
        return LeaderboardRow(
            number=trial.number,
            state=trial.state,
            score=ABSENT if trial.score is None else f"{trial.score:.4f}",
            steps=f"{trial.steps} of {study.num_steps}",
            time=show_duration(trial.seconds),
            reason=trial.reason or "",
            cells=[Cell(show(config[path]) if path in config else ABSENT, path in differing) for path in paths],
        )

    return Leaderboard([(path, labels[path]) for path in paths], [row(trial) for trial in ranked(study.trials)])


def show_duration(seconds: float) -> str:
    """A duration in its two largest units: `48 s`, `3 min 20 s`, `5 h 07 min`, `2 d 03 h`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole // 60 % 60:02} min"
    return f"{whole // 86400} d {whole // 3600 % 24:02} h"
