import math
from datetime import timedelta
from typing import Any

import plotly.graph_objects as go
import pytest
from synthetic_study import START, search, study, trial

from analysis.fields import searched_fields
from analysis.figures import (
    best_over_cost,
    best_over_trials,
    importance_bars,
    learning_curves,
    score_against_cost,
    score_by_field,
)
from analysis.importance import FieldImportance, Importance
from analysis.theme import STATE_COLOUR, score_frame
from analysis.tooltips import describe, shortened
from ell_tune.trials.records import TrialRecord, TrialState

STOPPED, RUNNING, FAILED = TrialState.STOPPED, TrialState.RUNNING, TrialState.FAILED


def trace(figure: go.Figure, name: str) -> Any:
    (found,) = [trace for trace in figure.data if trace.name == name]
    return found


MIXED = study(
    trial(0, 0.46, seconds=3600, ended=START + timedelta(hours=4)),
    trial(1, None, state=FAILED, seconds=360, ended=START + timedelta(hours=1), reason="not finite"),
    trial(
        2,
        0.48,
        state=STOPPED,
        steps=4,
        seconds=1800,
        ended=START + timedelta(hours=2),
        curve={1: 0.5, 4: 0.48},
    ),
    trial(3, 0.45, seconds=3600, ended=START + timedelta(hours=3)),
    trial(4, 0.47, state=RUNNING, steps=2, seconds=900, ended=None, curve={1: 0.5, 2: 0.47}),
)


def test_best_over_trials() -> None:
    figure = best_over_trials(MIXED)
    line = trace(figure, "best so far")
    assert list(line.x) == [0, 1, 2, 3, 4]
    assert list(line.y) == [0.46, 0.46, 0.46, 0.45, 0.45]
    assert (trace(figure, "complete").x, trace(figure, "complete").y) == ((0, 3), (0.46, 0.45))
    assert (trace(figure, "stopped").x, trace(figure, "stopped").y) == ((2,), (0.48,))
    assert (trace(figure, "best").x, trace(figure, "best").y) == ((3,), (0.45,))


def test_failed_trials_lie_along_the_top_on_an_axis_of_their_own() -> None:
    failed = trace(best_over_trials(MIXED), "failed")
    assert (failed.x, failed.y, failed.yaxis) == ((1,), (0.97,), "y2")
    assert "not finite" in failed.hovertext[0]


def test_best_over_cost_adds_up_training_time_in_the_order_of_the_ends() -> None:
    figure = best_over_cost(MIXED)
    line = trace(figure, "best so far")
    assert list(line.x) == pytest.approx([0.1, 0.6, 1.6, 2.6, 2.85])
    assert list(line.y) == [None, None, 0.45, 0.45, 0.45]
    assert list(trace(figure, "complete").x) == pytest.approx([2.6, 1.6])


def test_best_so_far_of_a_search_never_rises() -> None:
    scores = [y for y in trace(best_over_trials(search(40)), "best so far").y if y is not None]
    assert scores == sorted(scores, reverse=True)
    assert scores[-1] == min(t.score for t in search(40).trials if t.state == TrialState.COMPLETE and t.score)


def test_every_state_has_its_colour_in_every_figure() -> None:
    record = search(30)
    figures = [
        best_over_trials(record),
        best_over_cost(record),
        score_by_field(record, searched_fields(record)[0]),
    ]
    for figure in figures:
        for state in TrialState:
            assert trace(figure, state.value).marker.color == STATE_COLOUR[state]


def test_learning_curves_hold_every_evaluation_with_gaps_between_trials() -> None:
    stopped = trial(1, 0.48, state=STOPPED, curve={2: 0.48, 1: 0.5})
    figure = learning_curves(study(trial(0, 0.45, curve={1: 0.49, 8: 0.45}), stopped, trial(2, 0.46, curve={8: 0.46})))
    complete = trace(figure, "complete")
    assert (complete.x, complete.y) == ((1, 8, None, 8, None), (0.49, 0.45, None, 0.46, None))
    # Only the end of a curve has a mark: that of its state.
    assert list(complete.marker.size) == [0, 8, 0, 8, 0]
    assert (trace(figure, "stopped").x, trace(figure, "stopped").y) == ((1, 2, None), (0.5, 0.48, None))
    assert trace(figure, "stopped").marker.symbol == "circle-open"
    assert trace(figure, "best (trial 0)").y == (0.49, 0.45, None)


def test_learning_curves_mark_the_rungs() -> None:
    figure = learning_curves(MIXED)
    assert [(line.x0, line.x1) for line in figure.layout.shapes] == [(4, 4), (6, 6)]
    assert [note.text for note in figure.layout.annotations] == ["rung 4", "rung 6"]


def test_learning_curves_of_a_diverged_trial_frame_the_finite_scores() -> None:
    diverged = trial(1, 0.47, state=FAILED, curve={7: 0.47, 8: math.nan})
    low, high = learning_curves(study(trial(0, 0.45), diverged)).layout.yaxis.range
    assert low < 0.45 < 0.47 < high < 0.5


def test_score_by_a_wide_numeric_field_has_a_log_axis() -> None:
    record = study(*(trial(n, 0.45 + n / 100, params={"lr": 10.0**-n}) for n in range(3)), searched=("lr",))
    figure = score_by_field(record, searched_fields(record)[0])
    assert figure.layout.xaxis.type == "log"
    assert trace(figure, "complete").x == (1.0, 0.1, 0.01)


def test_score_by_a_category_is_a_strip_with_the_median_of_the_contenders() -> None:
    values = ["mse", "mse", "mse", None]
    trials = [trial(n, 0.45 + n / 100, params={"loss": value}) for n, value in enumerate(values)]
    stopped = trial(4, 0.6, state=STOPPED, params={"loss": "mse"})
    record = study(*trials, stopped, searched=("loss",))
    figure = score_by_field(record, searched_fields(record)[0])
    assert figure.layout.xaxis.ticktext == ("mse", "off")
    assert [(line.x0, line.x1, line.y0) for line in figure.layout.shapes] == [
        (-0.35, 0.35, pytest.approx(0.46)),
        (0.65, 1.35, pytest.approx(0.48)),
    ]
    assert [round(x) for x in trace(figure, "complete").x] == [0, 0, 0, 1]


def test_score_by_a_conditional_field_shows_only_the_trials_that_have_it() -> None:
    record = study(
        trial(0, 0.45, params={}), trial(1, 0.46, params={"hidden": 128}),
        trial(2, 0.47, params={"hidden": 256}), trial(3, None, state=FAILED, params={"hidden": 512}),
        searched=("hidden",),
    )  # fmt: skip
    figure = score_by_field(record, searched_fields(record)[0])
    assert trace(figure, "complete").x == (128, 256)
    assert trace(figure, "failed").x == (512,)
    assert "best" not in [t.name for t in figure.data]


def test_a_field_that_only_failed_trials_have_is_drawn_without_scores() -> None:
    record = study(trial(0, 0.45), trial(1, None, state=FAILED, params={"a": "x"}), searched=("a",))
    figure = score_by_field(record, searched_fields(record)[0])
    assert [t.name for t in figure.data] == ["failed"]
    assert figure.layout.yaxis.showticklabels is False


def test_scores_out_of_the_frame_are_counted() -> None:
    record = study(*(trial(n, 0.45 + n / 1000) for n in range(9)), trial(9, 3.0), trial(10, 4.0))
    figure = best_over_trials(record)
    assert figure.layout.yaxis.range[1] < 0.5
    assert [note.text for note in figure.layout.annotations] == ["2 above ↑ double-click to see all"]


@pytest.mark.parametrize(
    ("scores", "frame"),
    [
        ([0.45], (0.44, 0.46)),
        ([0.4, 0.5], (0.388, 0.512)),
        ([0.4, 0.41, 0.42, 0.43, 0.44, 9.0], (0.4 - 0.0135, 0.4 + 0.1125 + 0.0135)),
        ([0.4, 0.4, 0.4, 0.4, 0.4, 0.5], (0.388, 0.512)),
    ],
)
def test_score_frame(scores: list[float], frame: tuple[float, float]) -> None:
    assert score_frame(scores) == pytest.approx(frame)


def test_importance_bars_run_from_the_most_important_down() -> None:
    importance = Importance(
        6,
        40,
        0.7,
        {"optimizer.lr": FieldImportance(0.004, 0.001), "loss.name": FieldImportance(0.001, 0.0005)},
        {},
        None,
    )
    figure = importance_bars(importance)
    assert figure.data[0].x == (0.004, 0.001)
    assert figure.data[0].error_x.array == (0.001, 0.0005)
    assert figure.layout.yaxis.ticktext == ("lr", "loss.name")
    assert figure.layout.yaxis.range == (1.5, -0.5)


def test_a_tooltip_says_how_far_a_stopped_trial_got_and_why_it_ended() -> None:
    stopped = trial(
        7, 0.4712, state=STOPPED, steps=4, reason="not in the best half at rung 4",
        params={"optimizer.lr": 2e-5, "swa": None}
    )  # fmt: skip
    assert describe(stopped, study(stopped)).split("<br>") == [
        "<b>trial 7</b> · stopped",
        "score 0.4712 after 4 of 8 evaluations",
        "not in the best half at rung 4",
        "lr = 2e-05",
        "swa = off",
    ]


def test_text_for_figures_is_cut_before_it_is_escaped() -> None:
    assert shortened("<a href='x'>", 4) == "&lt;a …"
    assert shortened("a & b", 5) == "a &amp; b"


def costed(number: int, score: float | None, cost: float, **changes: Any) -> TrialRecord:
    return trial(number, score, measures={"seconds_per_essay": cost}, **changes)


COSTED = study(
    costed(0, 0.46, 0.3),
    costed(1, 0.45, 0.9),
    costed(2, 0.47, 0.5),
    costed(3, 0.6, 0.02),
    costed(4, 0.44, 0.1, state=STOPPED, steps=4),
    costed(5, None, 0.1, state=FAILED, steps=1, num_steps=8),
    trial(6, None, state=FAILED),
    *(costed(number, 0.47, 0.6) for number in range(7, 17)),
    cost="seconds_per_essay",
)


def test_score_against_cost_has_the_front_as_a_stair_and_every_trial_with_a_cost() -> None:
    figure = score_against_cost(COSTED, "seconds_per_essay")
    stair = trace(figure, "front")
    assert (stair.x, stair.y, stair.line.shape) == ((0.02, 0.3, 0.9), (0.6, 0.46, 0.45), "hv")
    assert trace(figure, "complete").x[:4] == (0.3, 0.9, 0.5, 0.02)
    assert (trace(figure, "stopped").x, trace(figure, "stopped").y) == ((0.1,), (0.44,))
    assert trace(figure, "failed").x == (0.1,)
    assert trace(figure, "best").x == (0.9,)
    assert figure.layout.xaxis.title.text == "time to score one essay, seconds"
    assert "seconds_per_essay 0.3" in trace(figure, "complete").hovertext[0].split("<br>")


def test_all_of_the_front_is_in_the_frame_and_wide_costs_have_a_log_axis() -> None:
    figure = score_against_cost(COSTED, "seconds_per_essay")
    assert figure.layout.yaxis.range[1] > 0.6 > best_over_trials(COSTED).layout.yaxis.range[1]
    assert figure.layout.xaxis.type == "log"
    assert {"0.02", "0.05", "0.1", "0.2", "0.5", "1"} <= set(figure.layout.xaxis.ticktext)
    alike = study(costed(0, 0.46, 0.3), costed(1, 0.45, 0.4), cost="seconds_per_essay")
    assert score_against_cost(alike, "seconds_per_essay").layout.xaxis.type is None


def test_score_against_a_cost_that_no_trial_has_is_empty() -> None:
    assert [len(t.x) for t in score_against_cost(study(trial(0), cost="peak_memory_mib"), "peak_memory_mib").data] == [
        0
    ]
