"""`python -m ell_tune.cli` is the `ell-tune` command."""

from ell_tune.cli import main

main()
