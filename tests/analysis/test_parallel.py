from typing import Any

import plotly.graph_objects as go
import pytest
from synthetic_study import search, study, trial

from analysis.parallel import ABSENT_HEIGHT, parallel_coordinates
from ell_tune.trials.records import TrialState


def trace(figure: go.Figure, name: str) -> Any:
    (found,) = [trace for trace in figure.data if trace.name == name]
    return found


def test_a_line_runs_through_scaled_values_to_the_score() -> None:
    record = study(
        trial(0, 0.45, params={"lr": 1e-5, "loss": "mse", "hidden": 5}),
        trial(1, 0.46, params={"lr": 1e-3, "loss": "l1"}),
        trial(2, 0.47, params={"lr": 1e-4, "loss": "mse", "hidden": 7}),
        searched=("lr", "loss", "hidden", "never_drawn"),
    )
    figure = parallel_coordinates(record)
    # Logarithmic over its hundredfold; categories by name; absent under the axis; the score last.
    assert list(trace(figure, "best (trial 0)").y) == [0, 1, 0, 0, None]
    others = trace(figure, "complete")
    assert others.x == (0, 1, 2, 3, None) * 2
    assert others.y[:4] == (pytest.approx(1), 0, ABSENT_HEIGHT, pytest.approx(0.5))
    assert others.y[5:9] == (pytest.approx(0.5), 1, 1, 1)
    texts = [note.text for note in figure.layout.annotations]
    assert [text for text in texts if text.startswith("<b>")] == [
        "<b>lr</b>",
        "<b>loss</b>",
        "<b>hidden</b>",
        "<b>score</b>",
    ]
    assert texts.count("–") == 1


def test_a_failed_trial_ends_under_the_score_axis() -> None:
    failed = trial(1, 0.44, state=TrialState.FAILED, params={"lr": 2.0})
    figure = parallel_coordinates(study(trial(0, 0.45, params={"lr": 1.0}), failed, searched=("lr",)))
    assert list(trace(figure, "failed").y) == [1, ABSENT_HEIGHT, None]


def test_one_trial_lies_in_the_middle_of_its_axes() -> None:
    figure = parallel_coordinates(study(trial(0, params={"lr": 1.0, "loss": "mse"}), searched=("lr", "loss")))
    assert list(trace(figure, "best (trial 0)").y) == [0.5, 0.5, 0.5, None]


def test_a_tenth_of_the_contenders_is_in_full_colour() -> None:
    record = search(100)
    num_complete = sum(t.state == TrialState.COMPLETE for t in record.trials)
    num_leading = -(-num_complete // 10)
    figure = parallel_coordinates(record)
    assert trace(figure, f"best {num_leading}").y.count(None) == num_leading
    assert trace(figure, "complete").y.count(None) == num_complete - num_leading
    heights = [y for trace in figure.data for y in trace.y if y is not None]
    assert all(y == ABSENT_HEIGHT or 0 <= y <= 1 for y in heights)
