import io
import re

from rich.console import Console
from synthetic_study import trial

from ell_tune.trials.progress import LiveDisplay, PlainDisplay, Plan, distinguishing, duration, make_display
from ell_tune.trials.records import TrialState


def _console(terminal: bool) -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    return Console(file=file, force_terminal=terminal, width=120, color_system=None), file


def test_a_terminal_gets_a_table_and_anything_else_gets_lines() -> None:
    assert isinstance(make_display(_console(True)[0]), LiveDisplay)
    assert isinstance(make_display(_console(False)[0]), PlainDisplay)


def test_plain_lines_say_what_happened() -> None:
    console, file = _console(False)
    display = PlainDisplay(console)
    with display.running(Plan("search", "trial", 3), [trial(0, 0.47)]):
        display.changed(trial(1, None, state=TrialState.RUNNING, curve={}, steps=0))
        display.changed(trial(1, 0.46, state=TrialState.STOPPED, steps=4, reason="not among the best"))
    lines = file.getvalue().splitlines()
    assert lines[0].startswith("search: 1/3 trials done")
    assert "trial 1 running: starts: " in lines[1]
    assert "trial 1 stopped: step 4/8, best score 0.4600 (not among the best) | 2/3 done" in lines[2]
    assert "best 0.4700 (trial 0, complete)" in lines[-1]


def test_the_live_table_shows_running_trials_and_the_leader() -> None:
    console, _ = _console(True)
    display = LiveDisplay(console)
    with display.running(Plan("search", "trial", 3, seconds=60, rungs=lambda _: (4, 6)), [trial(0, 0.47)]):
        display.changed(trial(1, 0.46, state=TrialState.RUNNING, steps=4))
        with console.capture() as capture:
            console.print(display)
    text = capture.get()
    assert "1/3 trials done" in text and "about 1m00s left" in text
    assert "best 0.4700 (trial 0, complete)" in text
    assert re.search(r"trial 1 +running +4/8 +1/2 +0\.4600", text)


def test_durations_and_values_are_short() -> None:
    assert [duration(s) for s in (0, 59.6, 61, 3600, 5430)] == ["0m00s", "1m00s", "1m01s", "1h00m", "1h30m"]
    assert distinguishing(trial(0, 0.5, params={"lr": 0.00012345, "pooling": "mean", "n": 3})) == (
        "lr=0.000123 pooling=mean n=3"
    )


def test_a_long_search_shows_its_last_trials_and_the_leader_of_all() -> None:
    console, _ = _console(True)
    display = LiveDisplay(console)
    earlier = [trial(number, 0.5 - 0.001 * number) for number in range(20)]
    with display.running(Plan("search", "trial", 100), earlier):
        display.changed(trial(21, None, state=TrialState.RUNNING, curve={}, steps=0))
        display.changed(trial(20, 0.1, state=TrialState.FAILED))
        with console.capture() as capture:
            console.print(display)
    text = capture.get()
    assert "21/100 trials done" in text and "best 0.4810 (trial 19, complete)" in text
    assert re.findall(r"(?m)^ *trial (\d+)", text.rpartition("search ·")[2]) == [
        str(number) for number in range(13, 22)
    ]


def test_the_leader_is_the_one_of_all_trials_whatever_order_they_end_in() -> None:
    console, file = _console(False)
    display = PlainDisplay(console)
    with display.running(Plan("search", "trial", 3), []):
        display.changed(trial(2, 0.40, state=TrialState.STOPPED, steps=4))
        display.changed(trial(1, 0.47))  # a complete trial leads before any that was stopped
        display.changed(trial(0, 0.48))
        display.changed(trial(3, 0.30, state=TrialState.RUNNING, steps=2))
    assert "3/3 trials done" in file.getvalue() and "best 0.4700 (trial 1, complete)" in file.getvalue()
