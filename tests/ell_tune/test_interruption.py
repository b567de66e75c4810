"""Ctrl-C and SIGTERM in a command, at whatever moment."""

import os
import signal
from contextlib import nullcontext
from pathlib import Path

import pytest
from command import Run

from ell_tune.cli.options import err_console
from ell_tune.running import engine


@pytest.mark.parametrize("signals", [[signal.SIGINT], [signal.SIGTERM], [signal.SIGINT, signal.SIGINT]])
def test_whatever_interrupts_a_command_it_says_how_to_go_on(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signals: list[signal.Signals]
) -> None:
    def interrupted(_: Path) -> None:
        with engine._interrupts(engine._Run(source=None)) if len(signals) > 1 else nullcontext():  # type: ignore[arg-type]
            for number in signals:
                os.kill(os.getpid(), number)

    monkeypatch.setattr("ell_tune.studies.study.open_study", interrupted)
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    code, out, err = run("leaderboard", tmp_path)
    words = "Interrupted. The same command goes on with a search or retraining that had begun; all else starts over."
    assert (code, out, err) == (130, "", f"{words}\n")
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_it_says_how_to_go_on_is_not_heard(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    def interrupted(_: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ell_tune.studies.study.open_study", interrupted)
    show = err_console.print

    def show_under_fire(*words: str, **style: bool) -> None:
        os.kill(os.getpid(), number)
        show(*words, **style)  # type: ignore[arg-type]

    monkeypatch.setattr(err_console, "print", show_under_fire)
    code, _, err = run("leaderboard", tmp_path)
    assert code == 130 and err.startswith("Interrupted. The same command goes on")
