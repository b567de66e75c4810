"""What `ell-tune search` says at its end."""

from pathlib import Path

import pytest
from synthetic_study import trial

from ell_tune.cli import study_verbs
from ell_tune.errors import UserError
from ell_tune.trials.records import TrialState


@pytest.mark.parametrize(
    ("states", "message"),
    [
        (
            ["failed", "failed"],
            "at least one config must train, but each failed; the first, the base config: why 0",
        ),
        (
            ["failed", "lost"],
            "at least one trial must get through, but each failed or lost its worker; trial 1: why",
        ),
        (["lost"], "at least one trial must get through.* trial 0: why 0. See that the machine has the memory for it"),
    ],
)
def test_a_search_of_which_nothing_came_is_no_success(states: list[str], message: str) -> None:
    trials = [trial(number, state=TrialState(state), reason=f"why {number}") for number, state in enumerate(states)]
    with pytest.raises(UserError, match=f"^study: {message}.* the same command with a larger --trials goes on"):
        study_verbs._print_end(trials, None, Path("space.yaml"), Path("study"))
