"""The parallel coordinates of a study: one line per trial through its searched values to its score.

Drawn from plain lines rather than with Plotly's own trace, which needs WebGL, cannot leave out a value that
does not apply to a trial, and has no tooltips.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from analysis.fields import ABSENT, Field, searched_fields, show
from analysis.ranking import leader
from analysis.theme import DRAWING_ORDER, INK, MUTED, STATE_COLOUR, blank_figure, score_frame
from analysis.tooltips import describe, shortened
from ell_tune.trials.ranking import contenders, ranked
from ell_tune.trials.records import StudyRecord, TrialRecord, TrialState

ABSENT_HEIGHT = -0.15  # where a line passes a field that does not apply to it; the axes run from 0 to 1
_LEADING_FRAC = 0.1  # of the contenders are drawn in full colour
_LABEL_CHARS = 18
_TICK_CHARS = 12


@dataclass(frozen=True)
class _Axis:
    label: str
    height: Callable[[TrialRecord], float]
    ticks: Sequence[tuple[float, str]]  # height, text


def parallel_coordinates(study: StudyRecord) -> go.Figure:
    """One line per trial from field to field, each scaled from lowest to highest value, to the score."""
    axes = [_field_axis(field) for field in searched_fields(study) if field.values] + [_score_axis(study)]
    leading = ranked(study.trials)[: math.ceil(_LEADING_FRAC * len(contenders(study.trials)))]
    figure = blank_figure(460)
    for state in DRAWING_ORDER:
        trials = [trial for trial in study.trials if trial.state == state and trial not in leading]
        _add_lines(figure, study, axes, trials, state.value, dict(color=STATE_COLOUR[state], width=1), 0.3)
    _add_lines(
        figure, study, axes, leading, f"best {len(leading)}",
        dict(color=STATE_COLOUR[TrialState.COMPLETE], width=2), 1.0,
    )  # fmt: skip
    best = leader(study)
    _add_lines(figure, study, axes, [best], f"best (trial {best.number})", dict(color=INK, width=3), 1.0)
    for index, axis in enumerate(axes):
        any_absent = any(axis.height(trial) == ABSENT_HEIGHT for trial in study.trials)
        _draw_axis(figure, index, axis.label, [*axis.ticks, *([(ABSENT_HEIGHT, ABSENT)] if any_absent else [])])
    figure.update_xaxes(visible=False, range=[-0.2, len(axes) - 0.3])
    figure.update_yaxes(visible=False, range=[ABSENT_HEIGHT - 0.05, 1.03])
    figure.update_layout(margin=dict(l=8, r=16, t=72, b=8))
    return figure


def _field_axis(field: Field) -> _Axis:
    scale = math.log if field.is_log else float
    places = [scale(field.position(number)) for number in field.values]
    low, high = min(places), max(places)

    def height(trial: TrialRecord) -> float:
        if trial.number not in field.values:
            return ABSENT_HEIGHT
        return (scale(field.position(trial.number)) - low) / (high - low) if high > low else 0.5

    if field.is_continuous:
        values = field.values.values()
        return _Axis(field.label, height, [(0.0, show(min(values))), (1.0, show(max(values)))])
    last = len(field.categories) - 1
    return _Axis(field.label, height, [(i / last if last else 0.5, name) for i, name in enumerate(field.categories)])


def _score_axis(study: StudyRecord) -> _Axis:
    scores = [t.score for t in study.trials if t.score is not None and t.state != TrialState.FAILED]
    low, high = min(scores), min(max(scores), score_frame(scores)[1])

    def height(trial: TrialRecord) -> float:
        if trial.score is None or trial.state == TrialState.FAILED:
            return ABSENT_HEIGHT
        return min(1.0, (trial.score - low) / (high - low)) if high > low else 0.5

    if low == high:
        return _Axis("score", height, [(0.5, f"{low:.4f}")])
    beyond = "≥ " if max(scores) > high else ""
    return _Axis("score", height, [(0.0, f"{low:.4f}"), (1.0, f"{beyond}{high:.4f}")])


def _add_lines(
    figure: go.Figure,
    study: StudyRecord,
    axes: Sequence[_Axis],
    trials: Sequence[TrialRecord],
    name: str,
    line: dict[str, object],
    opacity: float,
) -> None:
    """Draws the trials as one trace with gaps between them."""
    if not trials:
        return
    figure.add_scatter(
        x=[*range(len(axes)), None] * len(trials),
        y=[height for trial in trials for height in [*(axis.height(trial) for axis in axes), None]],
        mode="lines",
        line=line,
        opacity=opacity,
        name=name,
        hovertext=np.repeat([describe(trial, study) for trial in trials], len(axes) + 1),
        hoverinfo="text",
    )


def _draw_axis(figure: go.Figure, index: int, label: str, ticks: Sequence[tuple[float, str]]) -> None:
    figure.add_shape(type="line", x0=index, x1=index, y0=0, y1=1, line=dict(color=MUTED, width=1))
    figure.add_annotation(
        x=index, y=1, yref="paper", text=f"<b>{shortened(label, _LABEL_CHARS)}</b>", showarrow=False,
        xanchor="left", yanchor="bottom", textangle=-20, xshift=-6, font=dict(size=11),
    )  # fmt: skip
    for height, text in ticks:
        figure.add_annotation(
            x=index, y=height, text=shortened(text, _TICK_CHARS), showarrow=False, xanchor="left", xshift=3,
            font=dict(size=10, color=MUTED), bgcolor="rgba(255,255,255,0.75)", borderpad=1,
        )  # fmt: skip
