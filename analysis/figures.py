"""The report's figures: each function draws one of them from a study.

Failed trials have no score to place them by: wherever the y axis is the score, they are marked along its top.
"""

import math
import statistics
from collections.abc import Callable, Sequence

import numpy as np
import plotly.graph_objects as go

from analysis.fields import LOG_AXIS_RATIO, Field, short_labels, show
from analysis.importance import Importance
from analysis.ranking import best_so_far, by_end, leader
from analysis.theme import DRAWING_ORDER, INK, MUTED, STATE_COLOUR, STATE_MARK, blank_figure, score_frame
from analysis.tooltips import describe, plain, shortened
from ell_tune.trials.front import front, trial_cost
from ell_tune.trials.ranking import contenders
from ell_tune.trials.records import StudyRecord, TrialRecord, TrialState

_TICK_CHARS = 24  # of a tick label; the tooltip has more
_COST_TITLES = {
    "num_parameters": "parameters",
    "peak_memory_mib": "peak memory, MiB",
    "seconds_per_essay": "time to score one essay, seconds",
    "seconds": "training time of a whole schedule, seconds",
}
_GOLDEN = 0.618  # its multiples spread evenly over [0, 1)


def best_over_trials(study: StudyRecord) -> go.Figure:
    """Each trial's score by its number, and the best so far."""
    figure = blank_figure(340, "trial", "score")
    figure.add_scatter(
        x=[trial.number for trial in study.trials],
        y=best_so_far(study, study.trials),
        mode="lines",
        line=dict(color=INK, width=2, shape="hv"),
        name="best so far",
        hoverinfo="skip",
    )
    _add_trials(figure, study, lambda trial: trial.number)
    _tick_whole_numbers(figure, len(study.trials))
    return figure


def best_over_cost(study: StudyRecord) -> go.Figure:
    """Each trial's score by the training time spent on the study when it ended, and the best so far."""
    ended = by_end(study)
    hours = np.cumsum([trial.seconds for trial in ended]) / 3600
    spent = {trial.number: float(total) for trial, total in zip(ended, hours, strict=True)}
    figure = blank_figure(340, "training time spent on the study so far, hours", "score")
    figure.add_scatter(
        x=list(spent.values()),
        y=best_so_far(study, ended),
        mode="lines",
        line=dict(color=INK, width=2, shape="hv"),
        name="best so far",
        hoverinfo="skip",
    )
    _add_trials(figure, study, lambda trial: spent[trial.number])
    return figure


def score_against_cost(study: StudyRecord, cost: str) -> go.Figure:
    """Each trial's score by its cost, and the front of those that none beats in both, as a stair with rings."""
    costs = {trial.number: found for trial in study.trials if (found := trial_cost(trial, cost)) is not None}
    members = front(study)
    figure = blank_figure(420, _COST_TITLES[cost], "score")
    figure.add_scatter(
        x=[costs[trial.number] for trial in members],
        y=[trial.score for trial in members],
        mode="lines+markers",
        line=dict(color=INK, width=2, shape="hv"),
        marker=dict(symbol="circle-open", color=INK, size=13, line=dict(width=1.5)),
        name="front",
        hoverinfo="skip",
    )
    having = [trial for trial in study.trials if trial.number in costs]
    in_frame = [trial.score for trial in members if trial.score is not None]
    _add_trials(figure, study, lambda trial: costs[trial.number], having, in_frame)
    low, high = min(costs.values(), default=0.0), max(costs.values(), default=0.0)
    if low > 0 and high / low >= LOG_AXIS_RATIO:
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        ticks = [digit * 10.0**decade for decade in decades for digit in (1, 2, 5)]
        figure.update_xaxes(type="log", tickvals=ticks, ticktext=[f"{tick:g}" for tick in ticks])
    return figure


def learning_curves(study: StudyRecord) -> go.Figure:
    """The score of every evaluation of every trial; rungs are vertical lines, a curve's end has its state."""
    figure = blank_figure(460, "evaluation", "score")
    best = leader(study)
    for state in DRAWING_ORDER:
        trials = [trial for trial in study.trials if trial.state == state and trial.curve]
        if trials:
            figure.add_scatter(
                **_joined_curves(trials, study),
                mode="lines+markers",
                line=dict(color=STATE_COLOUR[state], width=1),
                opacity=0.75,
                name=state.value,
            )
    figure.add_scatter(
        **_joined_curves([best], study),
        mode="lines+markers",
        line=dict(color=INK, width=3),
        name=f"best (trial {best.number})",
    )
    for rung in study.rungs:
        figure.add_vline(
            x=rung, line=dict(color=MUTED, width=1, dash="dot"),
            annotation=dict(text=f"rung {rung}", yref="paper", y=1, yanchor="bottom", xanchor="center",
                            font=dict(size=11, color=MUTED)),
        )  # fmt: skip
    points = [point for trial in study.trials for point in trial.curve.items() if math.isfinite(point[1])]
    # The first evaluations of all trials lie far above, and rank nothing.
    settled = [score for step, score in points if step >= study.num_steps / 4]
    _frame_scores(figure, settled or [score for _, score in points])
    figure.update_xaxes(range=[0.8, study.num_steps + 0.2])
    _tick_whole_numbers(figure, study.num_steps)
    return figure


def score_by_field(study: StudyRecord, field: Field) -> go.Figure:
    """Each trial's score by its value of one searched field; categories are strips with a median line."""
    figure = blank_figure(230)
    figure.update_layout(margin=dict(t=18, b=30))
    having = [trial for trial in study.trials if trial.number in field.values]
    if field.is_continuous:
        _add_trials(figure, study, lambda trial: field.position(trial.number), having)
        figure.update_xaxes(type="log" if field.is_log else "linear", nticks=6, exponentformat="e")
        return figure

    def strip(trial: TrialRecord) -> float:
        return field.position(trial.number) + 0.5 * (trial.number * _GOLDEN % 1 - 0.5)

    _add_trials(figure, study, strip, having)
    for index, category in enumerate(field.categories):
        scores = [
            trial.score
            for trial in contenders(study.trials)
            if trial.score is not None and trial.number in field.values and show(field.values[trial.number]) == category
        ]
        if scores:
            median = statistics.median(scores)
            figure.add_shape(
                type="line",
                x0=index - 0.35,
                x1=index + 0.35,
                y0=median,
                y1=median,
                line=dict(color=INK, width=2),
            )
    figure.update_xaxes(
        tickvals=list(range(len(field.categories))),
        ticktext=[shortened(category, _TICK_CHARS) for category in field.categories],
        range=[-0.6, len(field.categories) - 0.4],
    )
    return figure


def importance_bars(importance: Importance) -> go.Figure:
    """The importance of every rated field, most important on top, with its SD over the held-out parts."""
    paths = list(importance.by_path)
    labels = short_labels(paths)
    figure = blank_figure(80 + 30 * len(paths), "rise of the prediction error when the field is shuffled, in score")
    figure.add_bar(
        x=[importance.by_path[path].mean for path in paths],
        y=list(range(len(paths))),
        error_x=dict(array=[importance.by_path[path].sd for path in paths], color=MUTED, thickness=1.2, width=4),
        orientation="h",
        marker=dict(color=STATE_COLOUR[TrialState.COMPLETE]),
        hovertext=[
            f"<b>{plain(path)}</b><br>{importance.by_path[path].mean:.5f} ± {importance.by_path[path].sd:.5f}"
            for path in paths
        ],
        hoverinfo="text",
    )
    figure.update_yaxes(
        tickvals=list(range(len(paths))),
        ticktext=[shortened(labels[path], _TICK_CHARS) for path in paths],
        range=[len(paths) - 0.5, -0.5],
        showgrid=False,
    )
    figure.update_xaxes(zeroline=True, zerolinecolor=MUTED, tickformat=".4f")
    return figure


def _add_trials(
    figure: go.Figure,
    study: StudyRecord,
    x_of: Callable[[TrialRecord], float],
    trials: Sequence[TrialRecord] | None = None,
    in_frame: Sequence[float] = (),
) -> None:
    """Marks trials at their score, one trace per state; failed ones along the top; rings the leader.

    `in_frame`: scores that are shown, however bad they are.
    """
    trials = study.trials if trials is None else trials
    for state in TrialState:
        failed = state == TrialState.FAILED
        shown = [trial for trial in trials if trial.state == state and (failed or trial.score is not None)]
        if shown:
            figure.add_scatter(
                x=[x_of(trial) for trial in shown],
                y=[0.97 if failed else trial.score for trial in shown],
                yaxis="y2" if failed else "y",
                mode="markers",
                marker=_mark(state),
                opacity=0.85,
                name=state.value,
                hovertext=[describe(trial, study) for trial in shown],
                hoverinfo="text",
            )
    best = leader(study)
    if best in trials:
        figure.add_scatter(
            x=[x_of(best)],
            y=[best.score],
            mode="markers",
            marker=dict(symbol="circle-open", color=INK, size=15, line=dict(width=2.5)),
            name="best",
            hoverinfo="skip",
        )
    # Failed trials live on an axis of their own, from 0 at the bottom of the frame to 1 at its top.
    figure.update_layout(yaxis2=dict(overlaying="y", range=[0, 1], visible=False, fixedrange=True))
    scores = [t.score for t in trials if t.score is not None and t.state != TrialState.FAILED]
    _frame_scores(figure, scores, in_frame)
    num_above = sum(score > figure.layout.yaxis.range[1] for score in scores)
    if num_above:
        figure.add_annotation(
            text=f"{num_above} above ↑ double-click to see all", xref="paper", yref="paper", x=1, y=1,
            xanchor="right", yanchor="bottom", showarrow=False, font=dict(size=11, color=MUTED),
        )  # fmt: skip


def _mark(state: TrialState) -> dict[str, object]:
    colour = STATE_COLOUR[state]
    outline = 1.5 if STATE_MARK[state].endswith("-open") else 0
    return dict(symbol=STATE_MARK[state], color=colour, size=8, line=dict(width=outline, color=colour))


def _joined_curves(trials: Sequence[TrialRecord], study: StudyRecord) -> dict[str, object]:
    """The curves as one line with gaps, since hundreds of traces are slow. Only their ends have marks."""
    x: list[int | None] = []
    y: list[float | None] = []
    sizes: list[int] = []
    texts: list[str] = []
    for trial in trials:
        points = sorted(trial.curve.items())
        x += [step for step, _ in points] + [None]
        y += [score for _, score in points] + [None]
        sizes += [0] * (len(points) - 1) + [8, 0]
        texts += [f"{score:.4f} at evaluation {step}<br>{describe(trial, study)}" for step, score in points] + [""]
    marker = _mark(trials[0].state) | dict(size=sizes, opacity=1)
    return dict(x=x, y=y, marker=marker, hovertext=texts, hoverinfo="text")


def _frame_scores(figure: go.Figure, scores: Sequence[float], in_frame: Sequence[float] = ()) -> None:
    if not scores:
        figure.update_layout(yaxis=dict(range=[0, 1], showticklabels=False))
        return
    low, high = score_frame(scores)
    worst = max(in_frame, default=low)
    if worst > high:
        high = worst + 0.05 * (worst - low)
    figure.update_layout(yaxis=dict(range=[low, high], tickformat=".4f"))


def _tick_whole_numbers(figure: go.Figure, count: int) -> None:
    figure.update_xaxes(tickformat="d", dtick=1 if count <= 12 else None)
