"""The search without Ray: what it asks, how it stops, what it writes, and that an interruption changes nothing."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import pytest
from plain_engine import SECONDS_PER_EVALUATION, Killed, run_all
from studies import DEVICES_PER_TRIAL, enqueue_again, make_source

from ell_tune.running.jobs import EndKind, JobEnd
from ell_tune.runs.budget import Budget, Meter
from ell_tune.studies.enqueue import Enqueued, enqueue
from ell_tune.trainable import Progress
from ell_tune.trials.records import StudyRecord, TrialState


def outcome(record: StudyRecord) -> list[tuple[Any, ...]]:
    """All that a search decided."""
    return [(t.number, t.state, t.score, dict(t.curve), dict(t.config), dict(t.params)) for t in record.trials]


def test_the_base_config_runs_first_then_the_enqueued_ones(tmp_path: Path) -> None:
    source, study = make_source(tmp_path / "study", Budget(num_trials=3))
    run_all(source, tmp_path)
    first, second, third = study.record().trials
    assert (first.config["x"], first.config["y"], first.config["bonus"]) == (0.0, 0, None)
    assert first.params == {"x": 0.0, "y": 0, "shape": "plain", "bonus": "off"}
    assert (second.config["x"], second.config["y"]) == (2.5, 2)
    assert third.config["x"] not in (0.0, 2.5)


def test_the_worse_of_two_trials_stops_at_the_rung_and_the_better_runs_to_its_end(tmp_path: Path) -> None:
    source, study = make_source(tmp_path / "study", Budget(num_trials=2), enqueue=[{"x": -10.0}])
    run_all(source, tmp_path)
    good, bad = study.record().trials
    # 0.4 + 0.01 * 9 + 0.02 * 2 + 0.2 / step
    assert (good.state, good.steps, good.score) == (TrialState.COMPLETE, 4, pytest.approx(0.58))
    assert (bad.state, bad.steps) == (TrialState.STOPPED, 2)
    assert bad.reason == "not among the best 1 of 2 at the rung of step 2"
    assert study.record().rungs == (2,)
    assert good.seconds == 4 * SECONDS_PER_EVALUATION


def test_without_a_scheduler_every_trial_runs_to_its_end(tmp_path: Path) -> None:
    source, study = make_source(tmp_path / "study", Budget(num_trials=6), study={"num_folds": 2, "scheduler": False})
    run_all(source, tmp_path)
    assert {trial.state for trial in study.record().trials} == {TrialState.COMPLETE}


def test_a_diverged_and_a_bad_config_are_failed_told_as_bad_and_not_tried_again(tmp_path: Path) -> None:
    for fault, reason in [("nan", "diverged: the score of evaluation 1 is nan"), ("bad_config", "it does not fit")]:
        source, study = make_source(tmp_path / fault, Budget(num_trials=3), base={"fault": fault})
        run_all(source, tmp_path / "artifacts")
        record = study.record()
        assert [trial.state for trial in record.trials] == [TrialState.FAILED] * 3
        assert {trial.reason for trial in record.trials} == {reason}
        told = [trial.state for trial in study.optuna_study.get_trials()]
        assert told == [optuna.trial.TrialState.PRUNED] * 3


@pytest.mark.parametrize("kill_after_reports", [1, 2, 3, 5, 8, 13, 21])
def test_a_killed_search_goes_on_to_the_same_decisions_as_an_undisturbed_one(
    tmp_path: Path, kill_after_reports: int
) -> None:
    budget = Budget(num_trials=9)
    undisturbed, reference = make_source(tmp_path / "reference", budget)
    run_all(undisturbed, tmp_path / "a")

    killed, _ = make_source(tmp_path / "study", budget)
    with pytest.raises(Killed):
        run_all(killed, tmp_path / "b", kill_after_reports)
    resumed, study = make_source(tmp_path / "study", budget)
    run_all(resumed, tmp_path / "b")

    assert outcome(study.record()) == outcome(reference.record())


def test_a_search_goes_on_to_a_larger_number_of_trials(tmp_path: Path) -> None:
    in_two, study = make_source(tmp_path / "two", Budget(num_trials=4))
    run_all(in_two, tmp_path / "a")
    in_two, study = make_source(tmp_path / "two", Budget(num_trials=9))
    run_all(in_two, tmp_path / "a")
    in_one, reference = make_source(tmp_path / "one", Budget(num_trials=9))
    run_all(in_one, tmp_path / "b")
    assert outcome(study.record()) == outcome(reference.record())
    done, study = make_source(tmp_path / "two", Budget(num_trials=9))
    assert done.next_job() is None


class Clock:
    """Time that passes when it is told to."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of all searches made afterwards."""
    clock = Clock()
    monkeypatch.setattr("ell_tune.runs.search_source.Meter", partial(Meter, clock=clock))
    return clock


def test_a_time_budget_counts_over_the_whole_study_and_leaves_trials_in_flight_to_go_on(
    tmp_path: Path, clock: Clock
) -> None:
    source, study = make_source(tmp_path / "study", Budget(num_trials=1, seconds=60))
    job = source.next_job()
    assert job is not None
    clock.now += 59
    assert source.on_progress(job, Progress(1, 4, 0.6), seconds=50)
    clock.now += 1
    assert not source.on_progress(job, Progress(2, 4, 0.5), seconds=1)
    assert source.why_ended() == "the time budget of 60 s is used up"
    clock.now += 1000  # between two searches
    source, study = make_source(tmp_path / "study", Budget(num_trials=1, seconds=60))
    assert source.next_job() is None
    (trial,) = study.record().trials
    assert (trial.state, trial.steps, trial.seconds) == (TrialState.RUNNING, 2, 51)
    source, study = make_source(tmp_path / "study", Budget(num_trials=1, seconds=61))
    assert source.meter.seconds_left == 1
    run_all(source, tmp_path)
    assert [trial.state for trial in study.record().trials] == [TrialState.COMPLETE]


def test_device_seconds_are_training_time_times_devices_over_all_trials(tmp_path: Path) -> None:
    per_trial = 4 * SECONDS_PER_EVALUATION * DEVICES_PER_TRIAL
    budget = Budget(num_trials=9, device_seconds=2 * per_trial)
    source, study = make_source(tmp_path / "study", budget, study={"num_folds": 2, "scheduler": False})
    run_all(source, tmp_path)
    trials = study.record().trials
    # The second trial spends the last of it at its last evaluation, and is done with that.
    assert [(trial.state, trial.device_seconds) for trial in trials] == [
        (TrialState.COMPLETE, per_trial),
        (TrialState.COMPLETE, per_trial),
    ]
    assert source.why_ended() == "the budget of 8 device-seconds is used up"
    resumed, _ = make_source(tmp_path / "study", budget)
    assert resumed.next_job() is None


def test_a_trial_that_has_used_up_its_time_is_stopped_at_its_next_evaluation(tmp_path: Path) -> None:
    budget = Budget(num_trials=2, trial_seconds=3 * SECONDS_PER_EVALUATION - 1)
    source, study = make_source(tmp_path / "study", budget, study={"num_folds": 2, "scheduler": False})
    run_all(source, tmp_path)
    ends = {(trial.state, trial.steps, trial.reason) for trial in study.record().trials}
    assert ends == {(TrialState.STOPPED, 3, "a trial has 5 s, which are used up")}
    assert source.why_ended() is None


def test_a_target_score_ends_the_search_once_a_complete_trial_has_it(tmp_path: Path) -> None:
    source, study = make_source(tmp_path / "study", Budget(num_trials=9, target_score=0.5))
    run_all(source, tmp_path)
    trials = study.record().trials
    assert trials[-1].score is not None and trials[-1].score <= 0.5 and trials[-1].state == TrialState.COMPLETE
    assert all(trial.score is not None and trial.score > 0.5 for trial in trials[:-1])
    assert source.why_ended() == f"a trial reached {trials[-1].score:.4f}, and the target is 0.5"
    resumed, _ = make_source(tmp_path / "study", Budget(num_trials=9, target_score=0.5))
    assert resumed.next_job() is None


@pytest.mark.parametrize(
    ("stopped_as", "state", "value"),
    [
        ("pruned", optuna.trial.TrialState.PRUNED, 2.23),  # Optuna takes the last score
        ("last_value", optuna.trial.TrialState.COMPLETE, 2.23),
        ("extrapolated", optuna.trial.TrialState.COMPLETE, 2.23 - 0.05),  # 0.2 / 2 - 0.2 / 4
    ],
)
def test_a_stopped_trial_is_told_as_the_study_says_and_shown_as_stopped(
    tmp_path: Path, stopped_as: str, state: optuna.trial.TrialState, value: float
) -> None:
    settings = {"num_folds": 2, "stopped_as": stopped_as}
    source, study = make_source(tmp_path / "s", Budget(num_trials=2), study=settings, enqueue=[{"x": -10.0}])
    run_all(source, tmp_path)
    told = study.optuna_study.get_trials()[1]
    assert (told.state, told.value) == (state, pytest.approx(value))
    assert study.record().trials[1].state == TrialState.STOPPED


@pytest.mark.parametrize("stopped_as", ["last_value", "extrapolated"])
def test_a_failed_config_is_told_as_the_worst_where_stopped_ones_are_told_as_complete(
    tmp_path: Path, stopped_as: str
) -> None:
    settings = {"num_folds": 2, "stopped_as": stopped_as}
    source, study = make_source(tmp_path / "s", Budget(num_trials=1), study=settings, base={"fault": "bad_config"})
    run_all(source, tmp_path)
    told = study.optuna_study.get_trials()[0]
    assert (told.state, told.value) == (optuna.trial.TrialState.COMPLETE, float("inf"))


def test_a_lost_worker_counts_against_nobody(tmp_path: Path) -> None:
    source, study = make_source(tmp_path / "study", Budget(num_trials=2))
    job = source.next_job()
    assert job is not None
    source.on_progress(job, Progress(1, 4, 0.6), seconds=1)
    source.on_end(job, JobEnd(EndKind.LOST, message="its node was lost 4 times"))
    (trial,) = study.record().trials
    assert (trial.state, trial.reason, trial.score) == (TrialState.LOST, "its node was lost 4 times", 0.6)
    assert study.optuna_study.get_trials()[0].state == optuna.trial.TrialState.FAIL  # which TPE ignores


@pytest.mark.parametrize("is_resumed", [False, True])
def test_a_config_whose_workers_were_lost_may_be_tried_again(tmp_path: Path, is_resumed: bool) -> None:
    source, study = make_source(tmp_path / "study", Budget(num_trials=2), enqueue=[])
    job = source.next_job()
    assert job is not None
    source.on_end(job, JobEnd(EndKind.LOST, message="its node was lost 4 times"))
    same = tmp_path / "same.yaml"
    same.write_text("x: 0.0\n")
    assert enqueue(tmp_path / "study", [same]) == [Enqueued(same, None)]
    if is_resumed:
        source, study = make_source(tmp_path / "study", Budget(num_trials=2), enqueue=[])
    again = source.next_job()
    assert again is not None and (again.name, again.config) == ("trial-0001", job.config)


def test_a_bug_leaves_its_trial_to_go_on_and_says_what_it_was(tmp_path: Path) -> None:
    source, study = make_source(tmp_path / "study", Budget(num_trials=1))
    job = source.next_job()
    assert job is not None
    source.on_end(job, JobEnd(EndKind.BUG, message="ZeroDivisionError: division by zero"))
    (trial,) = study.record().trials
    assert (trial.state, trial.reason) == (TrialState.RUNNING, "broke off: ZeroDivisionError: division by zero")
    resumed, study = make_source(tmp_path / "study", Budget(num_trials=1))
    assert resumed.next_job() is not None
    assert study.record().trials[0].reason is None
    resumed, study = make_source(tmp_path / "study", Budget(num_trials=1))
    run_all(resumed, tmp_path)
    (trial,) = study.record().trials
    assert (trial.state, trial.reason) == (TrialState.COMPLETE, None)


def test_ended_trials_leave_no_checkpoints(tmp_path: Path) -> None:
    source, study = make_source(tmp_path / "study", Budget(num_trials=4))
    run_all(source, Path(study.artifacts))
    assert [path.name for path in Path(study.artifacts).rglob("checkpoint-*")] == []


class RecordingTracker:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def trial_started(self, number: int, config: Mapping[str, Any]) -> None:
        self.calls.append(("started", number, config["x"]))

    def trial_reported(self, number: int, step: int, metrics: Mapping[str, float]) -> None:
        self.calls.append(("reported", number, step, metrics["score"], metrics["num_prepared"]))

    def trial_ended(self, number: int, state: str, score: float | None) -> None:
        self.calls.append(("ended", number, state, score))

    def close(self) -> None: ...


def test_the_tracker_hears_of_every_event(tmp_path: Path) -> None:
    tracker = RecordingTracker()
    source, _ = make_source(tmp_path / "study", Budget(num_trials=1), tracker=tracker)
    run_all(source, tmp_path)
    scores = [0.4 + 0.09 + 0.04 + 0.2 / step for step in (1, 2, 3, 4)]
    assert tracker.calls[0] == ("started", 0, 0.0)
    assert tracker.calls[1:5] == [("reported", 0, step + 1, pytest.approx(scores[step]), 6.0) for step in range(4)]
    assert tracker.calls[5:] == [("ended", 0, "complete", pytest.approx(scores[-1]))]


def test_a_trial_killed_before_its_config_was_written_gets_the_config_it_would_have_had(tmp_path: Path) -> None:
    reference, reference_study = make_source(tmp_path / "reference", Budget(num_trials=6))
    run_all(reference, tmp_path / "a")
    source, study = make_source(tmp_path / "study", Budget(num_trials=5))
    run_all(source, tmp_path / "b")
    study.optuna_study.ask()  # and then the process dies
    source, study = make_source(tmp_path / "study", Budget(num_trials=6))
    run_all(source, tmp_path / "b")
    assert outcome(study.record()) == outcome(reference_study.record())


def test_a_duplicate_whose_process_died_before_it_was_ended_is_ended_and_not_counted(tmp_path: Path) -> None:
    _, study = make_source(tmp_path / "study", Budget(num_trials=2))
    enqueue_again(study, 1)
    source, study = make_source(tmp_path / "study", Budget(num_trials=2))
    run_all(source, tmp_path)
    duplicate = study.optuna_study.ask()
    duplicate.set_user_attr("duplicate_of", 1)  # and then the process dies
    source, study = make_source(tmp_path / "study", Budget(num_trials=3))
    run_all(source, tmp_path)
    assert study.optuna_study.get_trials()[2].state == optuna.trial.TrialState.FAIL
    assert [trial.number for trial in study.record().trials] == [0, 1, 3]


def test_training_that_is_done_once_more_costs_once_more(tmp_path: Path) -> None:
    source, _ = make_source(tmp_path / "study", Budget(num_trials=1))
    job = source.next_job()
    assert job is not None
    for step in (1, 2):
        assert source.on_progress(job, Progress(step, 4, 0.5), seconds=10)
    budget = Budget(num_trials=1, device_seconds=35 * DEVICES_PER_TRIAL)
    source, study = make_source(tmp_path / "study", budget)  # killed, and its state is lost
    assert source.next_job() == job
    assert source.on_progress(job, Progress(1, 4, 0.5), seconds=10)
    before = study.optuna_study.get_trials()[0].intermediate_values
    assert not source.on_progress(job, Progress(2, 4, 0.5), seconds=10)  # 40 s by now
    (trial,) = study.record().trials
    assert (trial.seconds, trial.device_seconds) == (40.0, 40.0 * DEVICES_PER_TRIAL)
    assert study.optuna_study.get_trials()[0].intermediate_values == before == {1: 0.5, 2: 0.5}
