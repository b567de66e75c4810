"""The `ell-tune` command. Each verb checks its words, calls one function, and prints what came of it.

Exit code 0: done. 1: a bug of ours or of a trainable, with a traceback. 2: a user's mistake, with one paragraph.
130: interrupted (Ctrl-C, SIGTERM); what had begun is kept.

Heavy imports (Ray, torch) stay inside the verbs that need them, so that `--help` and the readers are quick.
"""

import sys

from ell_tune.cli import study_verbs  # its verbs come first in --help

# isort: split
from ell_tune.cli import model_verbs
from ell_tune.cli.app import app
from ell_tune.cli.options import err_console
from ell_tune.errors import BadConfig, Interrupted, UserError
from ell_tune.interruption import EXIT_CODE, HOW_TO_GO_ON, undisturbed

__all__ = ["app", "main", "model_verbs", "study_verbs"]


def main() -> None:
    """The entry point of the `ell-tune` command."""
    try:
        app()
    except (UserError, BadConfig) as error:  # a bad config outside of a trial: of a model to predict with
        err_console.print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)
    except Interrupted:
        with undisturbed():  # by a second Ctrl-C
            err_console.print(HOW_TO_GO_ON, soft_wrap=True)
        sys.exit(EXIT_CODE)
