"""The journal file stays whole, and is read as Optuna wrote it."""

from pathlib import Path
from tempfile import TemporaryDirectory

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

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
    assert first.distributions is second.distributions
    assert first.distributions == {"some.choice": CategoricalDistribution(("one alternative", "another one"))}
    here = storage.get_all_trials(0, deepcopy=False)
    assert here == [first, second] and here[0].distributions is here[1].distributions
    for of in (
        lambda trial: next(iter(trial.params)),
        lambda trial: next(iter(trial.user_attrs["config"])),
        lambda trial: trial.user_attrs["config"]["a.path"]["name"],
    ):
        assert of(first) is of(second)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(["enqueue", "enqueue elsewhere", "ask", "tell"]), max_size=12))
def test_the_queue_and_the_number_of_trials_are_those_of_optuna(events: list[str]) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "journal.log")
        storage = open_journal(path)
        study = optuna.create_study(storage=storage, study_name="study")
        elsewhere = optuna.load_study(study_name="study", storage=open_journal(path))
        asked: list[optuna.Trial] = []
        for index, event in enumerate(events):
            match event:
                case "enqueue":
                    study.enqueue_trial({"x": index})
                case "enqueue elsewhere":
                    elsewhere.enqueue_trial({"x": index})
                case "ask":
                    asked.append(study.ask())
                case "tell" if asked:
                    study.tell(asked.pop(), 1.0)
            plain = JournalStorage(JournalFileBackend(str(path)))
            assert storage.get_n_trials(0) == plain.get_n_trials(0)
            waiting = (TrialState.WAITING,)
            assert storage.get_all_trials(0, deepcopy=False, states=waiting) == plain.get_all_trials(0, states=waiting)
            assert storage.get_n_trials(0, waiting) == plain.get_n_trials(0, waiting)


def test_the_place_of_no_line_but_the_last_is_remembered(tmp_path: Path) -> None:
    storage = open_journal(tmp_path / "journal.log")
    study = optuna.create_study(storage=storage, study_name="study")
    study.ask().suggest_float("x", 0, 1)
    # A second process writes too.
    other = optuna.load_study(study_name="study", storage=open_journal(tmp_path / "journal.log"))
    other.ask().suggest_float("x", 0, 1)
    assert len(study.get_trials()) == 2 and [len(trial.params) for trial in study.get_trials()] == [1, 1]
    assert storage._backend._log_number_offset == {5: (tmp_path / "journal.log").stat().st_size}  # type: ignore[attr-defined]
