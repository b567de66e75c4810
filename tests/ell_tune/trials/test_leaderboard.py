import math

from rich.console import Console
from synthetic_study import study, trial

from ell_tune.trials.leaderboard import as_rows, as_table
from ell_tune.trials.records import TrialState


def test_rows_hold_every_trial_the_best_first_with_what_it_is() -> None:
    record = study(
        trial(0, 0.47),
        trial(1, 0.44, state=TrialState.STOPPED, steps=4, reason="not among the best at the rung of step 4"),
        trial(2, None, state=TrialState.FAILED, reason="diverged", curve={1: math.inf}),
        trial(3, 0.45),
    )
    rows = as_rows(record, is_searched=True)
    assert [row["number"] for row in rows] == [3, 0, 1, 2]
    assert [row["state"] for row in rows] == ["complete", "complete", "stopped", "failed"]
    assert [row["score"] for row in rows] == [0.45, 0.47, 0.44, None]
    assert rows[2]["steps"] == 4
    assert set(rows[0]) == {"number", "state", "score", "steps", "seconds", "reason", "fits_space", "config"}
    assert rows[3]["reason"] == "diverged"


def test_the_table_shows_states_scores_and_reasons() -> None:
    record = study(trial(0, 0.47123), trial(1, None, state=TrialState.FAILED, reason="diverged at step 1"))
    console = Console(width=100)
    with console.capture() as capture:
        console.print(as_table(record, is_searched=True))
    text = capture.get()
    assert "0.4712" in text and "complete" in text
    assert "failed" in text and "diverged at step 1" in text


def test_without_a_search_a_trial_in_flight_is_interrupted() -> None:
    record = study(trial(0, 0.47), trial(1, 0.45, state=TrialState.RUNNING, steps=2))
    assert [row["state"] for row in as_rows(record, is_searched=True)] == ["complete", "running"]
    assert [row["state"] for row in as_rows(record, is_searched=False)] == ["complete", "interrupted"]
    console = Console(width=140)
    with console.capture() as capture:
        console.print(as_table(record, is_searched=False))
    assert "running" not in capture.get() and "interrupted" in capture.get()
    assert "the next `ell-tune search` into this study goes on with it" in capture.get()


def test_a_cost_and_the_front_are_shown_where_the_sampler_has_a_cost() -> None:
    record = study(
        trial(0, 0.46, measures={"seconds_per_essay": 0.25}),
        trial(1, 0.45, measures={"seconds_per_essay": 0.5}),
        trial(2, 0.47, measures={"seconds_per_essay": 0.5}),
        trial(3, None, state=TrialState.FAILED),
        cost="seconds_per_essay",
    )
    rows = as_rows(record, is_searched=False)
    assert [(row["number"], row["cost"], row["on_front"]) for row in rows] == [
        (1, 0.5, True),
        (0, 0.25, True),
        (2, 0.5, False),
        (3, None, False),
    ]
    console = Console(width=140)
    with console.capture() as capture:
        console.print(as_table(record, is_searched=False))
    lines = capture.get().splitlines()
    assert "the cost is seconds_per_essay, ◆ is on the front" in " ".join(capture.get().split())
    cells = [[cell.strip() for cell in line.split("│")[1:8]] for line in lines if "│" in line]
    assert [cell[5:] for cell in cells] == [["0.5", "◆"], ["0.25", "◆"], ["0.5", ""], ["-", ""]]
