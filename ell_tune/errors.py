"""The errors that ell-tune tells apart: the user's, a config's, an interruption, and (everything else) our own bugs."""

from collections.abc import Iterator
from contextlib import contextmanager


class UserError(Exception):
    """A user's mistake or a missing thing only they can supply.

    The message is one paragraph: the rule, the value found, where (file, column, row or dotted path), the
    choices, and what to do. The command line prints it alone and exits with code 2.
    """


class BadConfig(Exception):
    """A config that cannot be trained: it diverged, or does not fit into memory even after a retry.

    Raised by a trainable's `fit`. The trial is recorded as failed with this message, told to the sampler as
    bad, and never retried. Any other exception out of `fit` is a bug of ours and stops the search.
    """


class Interrupted(Exception):
    """The user pressed Ctrl-C, or the process was told to end. Running jobs can go on from their checkpoints."""


class TrainableBug(Exception):
    """An error out of a trainable that is neither the config's nor the user's fault."""


def first_line(error: BaseException) -> str:
    """The first line of an error's message, for a message of ours; empty where it has none."""
    return str(error).strip().partition("\n")[0]


@contextmanager
def told_under(path: str) -> Iterator[None]:
    """Inside, the dotted paths that begin the messages of config errors and user's errors go on from `path`."""
    try:
        yield
    except (BadConfig, UserError) as error:
        raise type(error)(f"{path}{error}") from None
