"""The Typer application that the verbs add themselves to."""

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from ell_tune import __version__
from ell_tune.errors import Interrupted
from ell_tune.interruption import sigterm_as_ctrl_c


class _Verbs(TyperGroup):
    """The verbs; SIGINT or SIGTERM, at whatever moment, ends each with `Interrupted`."""

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]  # typer's context is click's
        try:
            with sigterm_as_ctrl_c():
                return super().invoke(ctx)
        except KeyboardInterrupt:  # Typer would exit without a word
            raise Interrupted from None


app = typer.Typer(
    cls=_Verbs,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Search hyperparameters of essay scorers, retrain the best on all folds, predict. A first look: `make demo`.",
)


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        print(f"ell-tune {__version__}")
        raise typer.Exit
