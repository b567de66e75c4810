"""The journal file stays whole, and is read as Optuna wrote it."""

from pathlib import Path

import optuna
import pytest

from ell_tune.studies.journal import drop_torn_line, open_journal


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"", b""),
        (b"one\n", b"one\n"),
        (b"one\ntwo\n", b"one\ntwo\n"),
        (b"one\ntw", b"one\n"),
        (b"on", b""),
        (b"one\n\n", b"one\n\n"),
    ],
)
def test_only_an_unfinished_last_line_is_dropped(tmp_path: Path, before: bytes, after: bytes) -> None:
    journal = tmp_path / "journal.log"
    journal.write_bytes(before)
    drop_torn_line(journal)
    assert journal.read_bytes() == after


def test_trials_share_what_is_the_same_in_all(tmp_path: Path) -> None:
    storage = open_journal(tmp_path / "journal.log")
    study = optuna.create_study(storage=storage, study_name="study")
    for _ in range(2):
        trial = study.ask()
        trial.suggest_categorical("some.choice", ["one alternative", "another one"])
        trial.set_user_attr("config", {"a.path": {"name": "a component"}, "steps": [1, 2]})
        study.tell(trial, 1.0)
    first, second = open_journal(tmp_path / "journal.log").get_all_trials(0, deepcopy=False)
    assert first.user_attrs == second.user_attrs == {"config": {"a.path": {"name": "a component"}, "steps": [1, 2]}}
    assert first.distributions["some.choice"] is second.distributions["some.choice"]
    for of in (
        lambda trial: next(iter(trial.params)),
        lambda trial: next(iter(trial.user_attrs["config"])),
        lambda trial: trial.user_attrs["config"]["a.path"]["name"],
    ):
        assert of(first) is of(second)


def test_the_place_of_no_line_but_the_last_is_remembered(tmp_path: Path) -> None:
    storage = open_journal(tmp_path / "journal.log")
    study = optuna.create_study(storage=storage, study_name="study")
    study.ask().suggest_float("x", 0, 1)
    # A second process writes too.
    other = optuna.load_study(study_name="study", storage=open_journal(tmp_path / "journal.log"))
    other.ask().suggest_float("x", 0, 1)
    assert len(study.get_trials()) == 2 and [len(trial.params) for trial in study.get_trials()] == [1, 1]
    assert storage._backend._log_number_offset == {5: (tmp_path / "journal.log").stat().st_size}  # type: ignore[attr-defined]
