"""SIGTERM ends a command as Ctrl-C does, by a `KeyboardInterrupt`, and neither keeps it from saying how to go on."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

EXIT_CODE = 130
HOW_TO_GO_ON = "Interrupted. The same command goes on with a search or retraining that had begun; all else starts over."


@contextmanager
def sigterm_as_ctrl_c() -> Iterator[None]:
    """Inside, SIGTERM raises `KeyboardInterrupt` in the main thread, whatever handled it before."""
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Inside, SIGINT and SIGTERM do nothing: for a moment's work that they must not cut short."""
    previous = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def end_interrupted_process() -> NoReturn:
    """Ends this process at once, from any thread, for the main one may hang: nothing is cleared away, or need be."""
    os.write(2, f"{HOW_TO_GO_ON}\n".encode())
    os._exit(EXIT_CODE)
