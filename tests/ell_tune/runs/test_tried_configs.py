"""No config runs twice, and a space that is used up ends the search; without Ray."""

from pathlib import Path
from typing import Any

import optuna
from edited_studies import edit, next_job
from plain_engine import run_all
from studies import enqueue_again, make_source

from ell_tune.running.jobs import EndKind, JobEnd
from ell_tune.runs.budget import Budget

SMALL_SPACE: dict[str, Any] = {"search": {"y": {"int": [0, 2]}}, "enqueue": [{"y": 1}, {"y": 0}]}
NEXT_SPACE: dict[str, Any] = {"search": {"y": {"int": [2, 4], "default": 2}}, "enqueue": []}


def test_no_config_is_run_twice_and_a_space_that_is_used_up_ends_the_search(tmp_path: Path) -> None:
    source, study = make_source(tmp_path / "study", Budget(num_trials=9), **SMALL_SPACE)
    run_all(source, tmp_path)
    assert sorted(trial.config["y"] for trial in study.record().trials) == [0, 1, 2]
    assert source.why_ended() == "the space is used up: each of its 3 configs was tried"
    repeats = [trial for trial in study.optuna_study.get_trials() if "duplicate_of" in trial.user_attrs]
    assert {trial.state for trial in repeats} <= {optuna.trial.TrialState.FAIL}

    again, study = make_source(tmp_path / "study", Budget(num_trials=9), **SMALL_SPACE)
    assert again.next_job() is None and again.why_ended() == source.why_ended()
    assert len(study.optuna_study.get_trials()) == 3 + len(repeats)


def test_trials_of_the_space_before_an_edit_do_not_use_up_the_edited_one(tmp_path: Path) -> None:
    source, study = make_source(tmp_path / "study", Budget(num_trials=9), **SMALL_SPACE)
    run_all(source, tmp_path)
    edit(study, **NEXT_SPACE)
    source, study = make_source(tmp_path / "study", Budget(num_trials=9), **NEXT_SPACE)
    run_all(source, tmp_path)
    assert sorted(trial.config["y"] for trial in study.record().trials) == [0, 1, 2, 3, 4]
    assert source.why_ended() == "the space is used up: each of its 3 configs was tried"


def test_a_space_of_real_numbers_that_yields_nothing_new_is_used_up_too(tmp_path: Path) -> None:
    two_values = {"search": {"x": {"float": [0.0, 5e-324]}}, "enqueue": []}
    source, study = make_source(tmp_path / "study", Budget(num_trials=9), **two_values)
    run_all(source, tmp_path)
    assert {trial.config["x"] for trial in study.record().trials} <= {0.0, 5e-324}
    assert source.why_ended() == "the space is used up: of 100 more suggestions none was new"
    repeats = [trial for trial in study.optuna_study.get_trials() if "duplicate_of" in trial.user_attrs]
    assert {trial.state for trial in repeats} == {optuna.trial.TrialState.FAIL}


def test_a_config_enqueued_twice_runs_once(tmp_path: Path) -> None:
    _, study = make_source(tmp_path / "study", Budget(num_trials=2))
    enqueue_again(study, 1)
    source, study = make_source(tmp_path / "study", Budget(num_trials=3))
    run_all(source, tmp_path)
    assert [trial.number for trial in study.record().trials] == [0, 1, 3]
    assert study.optuna_study.get_trials()[2].user_attrs["duplicate_of"] == 1


LOST = JobEnd(EndKind.LOST, message="its node was lost 4 times")


def test_a_config_in_flight_that_is_lost_leaves_the_space_with_one_more_to_try(tmp_path: Path) -> None:
    source, _ = make_source(tmp_path / "study", Budget(num_trials=9), **SMALL_SPACE)
    jobs = [next_job(source) for _ in range(3)]
    assert source.next_job() is None
    source.on_end(jobs[1], LOST)
    assert source.why_ended() == "the space is used up: each of its 3 configs was tried"
    source, _ = make_source(tmp_path / "study", Budget(num_trials=9), **SMALL_SPACE)
    again = [next_job(source) for _ in range(3)]  # two go on
    assert [job.config for job in again] == [jobs[0].config, jobs[2].config, jobs[1].config]


def test_a_misfit_that_is_lost_is_no_config_of_the_space(tmp_path: Path) -> None:
    source, study = make_source(tmp_path / "study", Budget(num_trials=1), **SMALL_SPACE)
    next_job(source)
    edit(study, **NEXT_SPACE)
    source, study = make_source(tmp_path / "study", Budget(num_trials=9), **NEXT_SPACE)
    source.on_end(next_job(source), LOST)
    run_all(source, tmp_path)
    assert sorted(trial.config["y"] for trial in study.record().trials) == [0, 2, 3, 4]
    assert source.why_ended() == "the space is used up: each of its 3 configs was tried"


def test_a_twin_whose_process_died_before_it_was_noted_is_no_trial(tmp_path: Path) -> None:
    source, study = make_source(tmp_path / "study", Budget(num_trials=1), **SMALL_SPACE)
    run_all(source, tmp_path)
    enqueue_again(study, 1)
    source, study = make_source(tmp_path / "study", Budget(num_trials=2), **SMALL_SPACE)
    run_all(source, tmp_path)
    twin = study.optuna_study.ask()  # y = 1 again: the process dies here
    assert twin.user_attrs["config"] == study.optuna_study.get_trials()[1].user_attrs["config"]
    source, study = make_source(tmp_path / "study", Budget(num_trials=9), **SMALL_SPACE)
    run_all(source, tmp_path)
    assert study.optuna_study.get_trials()[twin.number].user_attrs["duplicate_of"] == 1
