"""Writes what a study says as one HTML page that needs no network and no other file."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from analysis import figures, theme
from analysis.fields import differences, flatten, searched_fields, show
from analysis.importance import rate_fields
from analysis.parallel import parallel_coordinates
from analysis.ranking import FB3_SCORE_SD, expected_flattery, leader
from analysis.tables import leaderboard_table, show_duration
from ell_tune.errors import UserError
from ell_tune.files.atomic import write_whole
from ell_tune.trials.ranking import contenders
from ell_tune.trials.records import StudyRecord, TrialState


@dataclass(frozen=True)
class FieldFigure:
    """One of the small multiples: its figure's id, and what its heading says."""

    figure_id: str
    path: str
    label: str
    num_trials: int


def write_report(study: StudyRecord, out: Path) -> None:
    """Writes the report of a study as one self-contained HTML file.

    Raises:
        UserError: the folder of `out` does not exist, or no trial of the study has a score that counts.
    """
    if not contenders(study.trials):
        raise UserError(
            f"A report needs at least one trial with a score, but the study {study.name!r} has none: its "
            f"{len(study.trials)} trials are {_count_states(study) or 'not started'}. Wait for the first "
            f"evaluation, or, if trials failed, read why with `ell-tune leaderboard` and correct the space."
        )
    write_whole(out, render(study))


def render(study: StudyRecord) -> str:
    """The report of a study with at least one contender, as HTML."""
    drawn: dict[str, go.Figure] = {
        "best-over-trials": figures.best_over_trials(study),
        "best-over-cost": figures.best_over_cost(study),
        "learning-curves": figures.learning_curves(study),
    }
    if study.cost is not None:
        drawn["score-against-cost"] = figures.score_against_cost(study, study.cost)
    field_figures = []
    for index, field in enumerate(searched_fields(study)):
        if field.values:
            field_figures.append(FieldFigure(f"field-{index}", field.path, field.label, len(field.values)))
            drawn[f"field-{index}"] = figures.score_by_field(study, field)
    if field_figures:
        drawn["parallel"] = parallel_coordinates(study)
    importance = rate_fields(study)
    if importance.by_path:
        drawn["importance-bars"] = figures.importance_bars(importance)

    environment = Environment(
        loader=PackageLoader("analysis", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("report.html.j2").render(
        study=study,
        summary=_summarise(study),
        field_figures=field_figures,
        importance=importance,
        leaderboard=leaderboard_table(study),
        provenance={path: show(value) for path, value in flatten(study.provenance).items()},
        states=[(state, theme.STATE_GLYPH[state], theme.STATE_COLOUR[state]) for state in TrialState],
        theme=theme,
        # Inlined as it is: it holds no "</script" (a test sees to that).
        plotly_js=Markup(get_plotlyjs()),
        figures={figure_id: json.loads(figure.to_json()) for figure_id, figure in drawn.items()},
    )


def _summarise(study: StudyRecord) -> dict[str, Any]:
    """What the headline says."""
    base, best = study.trials[0], leader(study)
    num_contenders = len(contenders(study.trials))
    return dict(
        best=best,
        base=base,
        differences=differences(best.config, base.config),
        gain=base.score - best.score if base.score is not None and best.score is not None else None,
        num_contenders=num_contenders,
        flattery=expected_flattery(num_contenders),
        score_sd=FB3_SCORE_SD,
        num_by_state=Counter(trial.state for trial in study.trials),
        time=show_duration(sum(trial.seconds for trial in study.trials)),
    )


def _count_states(study: StudyRecord) -> str:
    counts = Counter(trial.state.value for trial in study.trials)
    return ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
