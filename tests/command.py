"""The `ell-tune` command, run inside the test's process."""

import sys
from collections.abc import Callable

import pytest

from ell_tune import cli

Run = Callable[..., tuple[int, str, str]]


def in_this_process(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """A function from the command's words to its exit code, standard output and standard error."""

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["ell-tune", *map(str, words)])
        code = 0
        try:
            cli.main()
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return run
