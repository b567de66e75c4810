"""What a trial under way writes into its study, and in which order."""

from math import inf, nan
from pathlib import Path

import optuna
import pytest
from plain_engine import killed
from studies import make_study

from ell_tune.runs.flight import Flight
from ell_tune.studies.study import Study
from ell_tune.trainable import Progress
from ell_tune.trials.records import TrialState
from ell_tune.trials.trial_attributes import BROKEN, OUTCOME, REASON, USAGE


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return make_study(tmp_path / "study")[0]


def reopened(flight: Flight) -> Flight:
    """The flight as a search finds it that goes on."""
    return Flight(optuna.Trial(flight.trial.study, flight.trial._trial_id))


def note(flight: Flight, progress: Progress, seconds: float, devices: float, search_seconds: float) -> None:
    flight.take_in(progress, seconds, devices, search_seconds)
    flight.write(progress.step, stopped=None)


def test_a_flight_adds_up_its_cost_and_keeps_the_largest_of_each_measure(study: Study) -> None:
    flight = Flight(study.optuna_study.ask())
    assert (flight.curve, flight.num_steps, flight.seconds, dict(flight.measures)) == ({}, 0, 0.0, {})
    note(flight, Progress(1, 4, 0.7, {"peak_memory_mib": 90.0, "train_loss": 1.0}), 10, 0.5, search_seconds=12)
    note(flight, Progress(2, 4, 0.6, {"peak_memory_mib": 80.0, "num_parameters": 7.0}), 20, 0.5, search_seconds=40)
    for seen in (flight, reopened(flight)):
        assert (seen.number, seen.num_steps, seen.seconds, seen.curve) == (0, 4, 30, {1: 0.7, 2: 0.6})
        assert dict(seen.measures) == {"peak_memory_mib": 90.0, "num_parameters": 7.0}
    (stored, _) = study.optuna_study.get_trials()
    assert stored.user_attrs[USAGE]["device_seconds"] == 15
    assert stored.user_attrs[USAGE]["search_seconds"] == 40


@pytest.mark.parametrize("score", [nan, inf, -inf])
def test_a_diverged_evaluation_is_infinitely_bad(study: Study, score: float) -> None:
    flight = Flight(study.optuna_study.ask())
    note(flight, Progress(1, 4, 0.7), 1, 1, 1)
    note(flight, Progress(2, 4, score), 1, 1, 2)
    assert reopened(flight).curve == {1: 0.7, 2: inf}
    assert [flight.best_until(step) for step in (0, 1, 2)] == [inf, 0.7, 0.7]


def test_the_best_until_a_step_leaves_out_what_came_later(study: Study) -> None:
    flight = Flight(study.optuna_study.ask())
    for step, score in enumerate([0.7, 0.8, 0.5], start=1):
        note(flight, Progress(step, 4, score), 1, 1, step)
    assert [flight.best_until(step) for step in (1, 2, 3, 4)] == [0.7, 0.7, 0.5, 0.5]


def test_no_score_is_written_without_its_cost(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    flight = Flight(study.optuna_study.ask())

    monkeypatch.setattr(flight.trial, "report", killed)
    with pytest.raises(KeyboardInterrupt):
        note(flight, Progress(1, 4, 0.7), 10, 1, 1)
    after = reopened(flight)
    assert (after.seconds, after.curve) == (10, {})


def test_training_that_is_done_once_more_costs_but_lengthens_no_schedule(study: Study) -> None:
    flight = Flight(study.optuna_study.ask())
    note(flight, Progress(1, 4, 0.7), 10, 1, 1)
    flight.note_cost(5, 1, 2)
    note(flight, Progress(2, 4, 0.6), 10, 1, 3)
    usage = study.optuna_study.get_trials()[0].user_attrs[USAGE]
    assert (usage["seconds"], usage["step_seconds"], usage["device_seconds"]) == (25, {"1": 10, "2": 10}, 25)


def test_what_the_scheduler_decides_is_written_with_the_evaluation_and_is_of_that_one_alone(study: Study) -> None:
    flight = Flight(study.optuna_study.ask())
    note(flight, Progress(1, 4, 0.7), 1, 1, 1)
    flight.take_in(Progress(2, 4, 0.8), 1, 1, 2)
    flight.write(2, stopped="not among the best")
    for seen in (flight, reopened(flight)):
        assert [seen.stopped_at(step) for step in (0, 1, 2, 3)] == [None, None, "not among the best", None]


def test_a_flight_is_done_with_its_last_evaluation(study: Study) -> None:
    flight = Flight(study.optuna_study.ask())
    done = [flight.is_done]
    for step in (1, 2):
        note(flight, Progress(step, 2, 0.7), 1, 1, step)
        done.append(flight.is_done)
    assert done == [False, False, True]


def test_the_end_is_written_before_optuna_is_told_and_may_be_written_again(study: Study) -> None:
    flight = Flight(study.optuna_study.ask())
    for _ in range(2):  # killed right after the first
        flight.note_end(TrialState.FAILED, "too large", {"num_parameters": 0.25})
        flight = reopened(flight)
    stored = study.optuna_study.get_trials()[0]
    assert stored.state == optuna.trial.TrialState.RUNNING
    assert (stored.user_attrs[OUTCOME], stored.user_attrs[REASON]) == ("failed", "too large")
    assert stored.constraints == {"num_parameters": 0.25}


def test_a_reason_is_taken_back_by_an_end_without_one(study: Study) -> None:
    flight = Flight(study.optuna_study.ask())
    flight.note_reason("broke off: a bug")
    flight.note_end(TrialState.COMPLETE, None, {})
    assert study.optuna_study.get_trials()[0].user_attrs[REASON] is None


def test_an_evaluation_whose_score_was_not_written_any_more_is_timed_and_decided_anew(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    flight = Flight(study.optuna_study.ask())
    note(flight, Progress(1, 4, 0.7), 10, 1, 1)

    flight.take_in(Progress(2, 4, 0.8), 10, 1, 2)
    monkeypatch.setattr(flight.trial, "report", killed)
    with pytest.raises(KeyboardInterrupt):
        flight.write(2, stopped="not among the best")
    flight = reopened(flight)
    note(flight, Progress(2, 4, 0.8), 12, 1, 3)
    assert reopened(flight).stopped_at(2) is None
    usage = study.optuna_study.get_trials()[0].user_attrs[USAGE]
    assert (usage["seconds"], usage["step_seconds"]) == (32, {"1": 10, "2": 12})


def test_a_trial_that_goes_on_has_no_end_and_measures_its_constraints_anew(study: Study) -> None:
    flight = Flight(study.optuna_study.ask())
    flight.note_broken()
    flight.note_end(TrialState.FAILED, "too large", {"num_parameters": 0.0})
    flight = reopened(flight)
    flight.note_goes_on()
    stored = study.optuna_study.get_trials()[0]
    assert [stored.user_attrs[name] for name in (OUTCOME, REASON, BROKEN)] == [None] * 3
    flight = reopened(flight)
    flight.note_end(TrialState.FAILED, "larger", {"num_parameters": 8.0})
    assert study.optuna_study.get_trials()[0].constraints == {"num_parameters": 8.0}
