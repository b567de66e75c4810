"""The search without Ray: what it asks, how it stops, what it writes, and that an interruption changes nothing."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest
from plain_engine import SECONDS_PER_EVALUATION, Killed, run_all
from studies import make_source, make_study

from ell_tune.records import StudyRecord, TrialState
from ell_tune.search import Budget
from ell_tune.study import open_study


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
    assert bad.reason == "not among the best at the rung of step 2"
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


def test_a_time_budget_counts_over_the_whole_study_and_leaves_trials_in_flight_to_go_on(tmp_path: Path) -> None:
    source, study = make_source(tmp_path / "study", Budget(num_trials=5, seconds=0.0))
    assert source.next_job() is None
    source, study = make_source(tmp_path / "study", Budget(num_trials=1))
    job = source.next_job()
    assert job is not None and [trial.state for trial in study.record().trials] == [TrialState.RUNNING]
    source.note_time()
    spent = open_study(tmp_path / "study").optuna_study.user_attrs["search_seconds"]
    assert spent > 0
    source, study = make_source(tmp_path / "study", Budget(num_trials=1, seconds=spent / 2))
    assert source.next_job() is None
    source, study = make_source(tmp_path / "study", Budget(num_trials=1))
    run_all(source, tmp_path)
    assert [trial.state for trial in study.record().trials] == [TrialState.COMPLETE]


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
    reference, reference_study = make_source(tmp_path / "reference", Budget(num_trials=3))
    run_all(reference, tmp_path / "a")
    source, _ = make_source(tmp_path / "study", Budget(num_trials=2))
    run_all(source, tmp_path / "b")
    study, spec = make_study(tmp_path / "study")
    study.optuna_study.ask()  # and then the process dies
    source, study = make_source(tmp_path / "study", Budget(num_trials=3))
    run_all(source, tmp_path / "b")
    assert len(study.record().trials) == 3
    assert study.record().trials[2].state != TrialState.RUNNING
