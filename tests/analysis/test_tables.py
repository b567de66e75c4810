import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_study import study, trial

from analysis.tables import Cell, leaderboard_table, show_duration
from ell_tune.trials.records import TrialState


def test_leaderboard_columns_are_the_fields_that_differ_somewhere() -> None:
    base = {"lr": 2e-5, "batch_size": 8, "pooling": {"name": "mean"}}
    record = study(
        trial(0, 0.46, config=base),
        trial(1, 0.45, config=base | {"lr": 1e-5}, seconds=200),
        trial(2, 0.5, config=base | {"pooling": {"name": "lstm", "hidden": 64}},
              state=TrialState.STOPPED, steps=4, reason="rung 4"),
        trial(3, None, config=base | {"lr": 1.0}, state=TrialState.FAILED, reason="diverged"),
    )  # fmt: skip
    table = leaderboard_table(record)
    assert table.columns == [("lr", "lr"), ("pooling.name", "pooling.name"), ("pooling.hidden", "hidden")]
    assert [row.number for row in table.rows] == [1, 0, 2, 3]
    assert table.rows[0].cells == [Cell("1e-05", True), Cell("mean", False), Cell("–", False)]
    assert table.rows[2].cells == [Cell("2e-05", False), Cell("lstm", True), Cell("64", True)]
    assert (table.rows[0].score, table.rows[0].time) == ("0.4500", "3 min 20 s")
    assert (table.rows[2].state, table.rows[2].steps, table.rows[2].reason) == ("stopped", "4 of 8", "rung 4")
    assert (table.rows[3].score, table.rows[3].reason) == ("–", "diverged")


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.4, "0 s"), (59.6, "1 min 00 s"), (200, "3 min 20 s"), (18_420, "5 h 07 min"), (86_400, "1 d 00 h"),
        (183_600, "2 d 03 h"),
    ],
)  # fmt: skip
def test_show_duration(seconds: float, shown: str) -> None:
    assert show_duration(seconds) == shown


@given(st.integers(0, 10**7))
def test_a_shown_duration_is_less_than_its_smaller_unit_off(seconds: int) -> None:
    units = {"s": 1, "min": 60, "h": 3600, "d": 86400}
    words = show_duration(seconds).split()
    read = sum(int(count) * units[unit] for count, unit in zip(words[::2], words[1::2], strict=True))
    assert 0 <= seconds - read < units[words[-1]]
