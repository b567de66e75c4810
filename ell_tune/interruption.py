"""SIGTERM ends a command as Ctrl-C does: by a `KeyboardInterrupt`, so that it can say how to go on."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def sigterm_as_ctrl_c() -> Iterator[None]:
    """Inside, SIGTERM raises `KeyboardInterrupt` in the main thread, whatever handled it before."""
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
