"""A study that goes on with an edited space file: what stays, what steers the search, what is refused."""

import fcntl
from pathlib import Path
from threading import Event, Thread, current_thread
from typing import Any

import optuna
import pytest
from edited_studies import NARROW, TRIED, Told, complete, edit, next_job, resume, searched, told, with_misfits
from plain_engine import run_all
from studies import SPACE, enqueue_again, make_source, make_study, write_space

from ell_tune.choosing.search_spec import load_search_spec
from ell_tune.errors import UserError
from ell_tune.running.jobs import EndKind, JobEnd
from ell_tune.runs.budget import Budget
from ell_tune.studies import study_edit
from ell_tune.studies.enqueue import enqueue
from ell_tune.studies.study import open_study, optuna_name
from ell_tune.studies.study_edit import compare
from ell_tune.trainable import Progress
from ell_tune.trials.records import TrialState


def test_the_same_space_is_no_edit(tmp_path: Path) -> None:
    study, spec = make_study(tmp_path / "study")
    assert compare(study, spec, tmp_path / "study.yaml") is None


def test_an_edit_names_the_sections_and_the_trials_that_do_not_fit(tmp_path: Path) -> None:
    _, found = edit(searched(tmp_path / "study"), **NARROW)
    assert (found.sections, found.num_steering) == (("enqueue", "search"), 2)
    assert found.misfits == {1: "x = 8.0 lies outside the searched [-5.0, 5.0]"}
    assert found.summary == (
        "The space file has changed (enqueue, search). Trials that fit it and go on steering the search: 2. Trials "
        "that do not, and only stay on the leaderboard: 1 (trial 1: x = 8.0 lies outside the searched [-5.0, 5.0])."
    )


def test_only_trials_that_tell_the_sampler_something_are_said_to_steer(tmp_path: Path) -> None:
    source, study = make_source(tmp_path / "study", Budget(num_trials=2), enqueue=[{"x": 1.0}, {"x": 8.0}, {"x": 2.0}])
    complete(source, next_job(source), [0.5])
    source.on_end(next_job(source), JobEnd(EndKind.LOST, message="its node was lost"))
    source, study = resume(study, 3, enqueue=[{"x": 1.0}, {"x": 8.0}, {"x": 2.0}])
    complete(source, next_job(source), [0.7])
    _, found = edit(study, **NARROW)  # trial 3 waits
    assert (found.num_steering, set(found.misfits), set(found.waiting_misfits)) == (1, {2}, set())


def test_an_edit_of_stopped_as_says_that_it_is_for_trials_to_come(tmp_path: Path) -> None:
    study = searched(tmp_path / "study")
    edited, found = edit(study, **TRIED, study={"num_folds": 2, "stopped_as": "last_value"})
    assert found.summary.endswith(
        "All trials of the study fit it. Trials that were stopped or failed stay told as they are; those to come "
        "are told as last_value."
    )
    assert told(edited)[1][0] == Told.PRUNED
    _, found = edit(edited, **TRIED, study={"num_folds": 2, "sampler": {"name": "cma_es"}})
    assert found.summary.endswith("stay told as they are; those to come are told as extrapolated.")


def test_an_edit_that_all_trials_fit_says_so(tmp_path: Path) -> None:
    wide = {**SPACE["search"], "y": {"int": [0, 4]}}
    _, found = edit(searched(tmp_path / "study"), **TRIED, search=wide)
    assert found.summary == "The space file has changed (search). All trials of the study fit it."


def test_a_field_that_is_no_longer_searched_fits_where_it_is_as_in_the_base_config(tmp_path: Path) -> None:
    search = {name: clause for name, clause in SPACE["search"].items() if name != "y"}
    _, found = edit(searched(tmp_path / "study"), base={"y": 2}, search=search, enqueue=[])
    why = "y differs from the base config, and is not searched"
    assert found.misfits == {0: why, 1: why}


def test_an_edit_changes_nothing_of_what_the_leaderboard_shows_but_who_fits(tmp_path: Path) -> None:
    study = searched(tmp_path / "study")
    before = study.record().trials
    defaults = {**NARROW["search"], "x": {"float": [-5.0, 5.0], "default": 2.0}}  # another base config
    edited, _ = edit(study, search=defaults, enqueue=[])
    after = with_misfits(before, 1)
    assert edited.record().trials == after
    assert open_study(tmp_path / "study").record().trials == after
    assert edited.base["x"] == 2.0


def test_the_sampler_and_the_rungs_know_only_trials_that_fit(tmp_path: Path) -> None:
    study = searched(tmp_path / "study")
    complete_0, stopped, complete_2 = told(study)
    edited, _ = edit(study, **NARROW)
    assert told(edited) == [complete_0, (Told.FAIL, None), complete_2]
    kept = [trial.params for trial in edited.optuna_study.get_trials()]
    assert kept[0]["x"] == 0.0 and kept[1] == {} and kept[2]["x"] == 1.0
    source, edited = resume(study, 4, **NARROW)
    job = next_job(source)
    source.on_progress(job, Progress(1, 4, 0.9), seconds=1)
    assert not source.on_progress(job, Progress(2, 4, 0.9), seconds=1)
    assert edited.record().trials[3].reason == "not among the best 2 of 3 at the rung of step 2"


@pytest.mark.parametrize("sampler", ["tpe", "cma_es", "qmc"])
def test_every_sampler_goes_on_in_the_edited_space(tmp_path: Path, sampler: str) -> None:
    startup = {} if sampler == "qmc" else {"num_startup_trials": 2}
    settings = {"num_folds": 2, "scheduler": False, "sampler": {"name": sampler, **startup}}
    source, study = make_source(tmp_path / "study", Budget(5), study=settings, **TRIED)
    run_all(source, tmp_path / "artifacts")
    narrow = {name: clause for name, clause in NARROW["search"].items() if name != "y"}
    edit(study, study=settings, search=narrow, base={"y": 2}, enqueue=[])
    source, study = resume(study, 9, study=settings, search=narrow, base={"y": 2}, enqueue=[])
    run_all(source, tmp_path / "artifacts")
    new = [trial.config for trial in study.record().trials[5:]]
    assert len(new) == 4 and all(abs(config["x"]) <= 5 and config["y"] == 2 for config in new)
    assert not any(name.startswith("cma:") for name in study.optuna_study.get_trials()[4].system_attrs)


def test_edited_back_the_study_is_as_it_was(tmp_path: Path) -> None:
    study = searched(tmp_path / "study")
    before = told(study), [trial.params for trial in study.optuna_study.get_trials()], study.record()
    edit(study, **NARROW)
    back, found = edit(open_study(study.study_dir), **TRIED)
    assert found.misfits == {}
    assert (told(back), [trial.params for trial in back.optuna_study.get_trials()], back.record()) == before
    assert not any("misfit" in trial.user_attrs for trial in back.optuna_study.get_trials())
    assert back.manifest["generation"] == 2
    assert [list(entry["misfits"]) for entry in back.manifest["edits"]] == [["1"], []]


def test_a_misfit_in_flight_runs_to_its_end_and_steers_nothing(tmp_path: Path) -> None:
    source, study = make_source(tmp_path / "study", Budget(2), **TRIED)
    complete(source, next_job(source), [0.7, 0.6, 0.5, 0.5])
    job = next_job(source)
    assert source.on_progress(job, Progress(1, 4, 0.8), seconds=1)
    study.storage.set_trial_system_attr(study.optuna_study.get_trials()[1]._trial_id, "cma:generation", 3)
    edited, _ = edit(study, **NARROW)  # the search was interrupted here
    assert told(edited)[:2] == [(Told.COMPLETE, 0.5), (Told.RUNNING, None)]
    assert edited.optuna_study.get_trials()[1].system_attrs.keys() <= {"fixed_params"}

    target = Budget(2, target_score=0.45)
    source, edited = make_source(study.study_dir, target, **NARROW)
    job = next_job(source)
    assert (job.name, job.config["x"]) == ("trial-0001", 8.0)
    complete(source, job, [0.8, 0.7, 0.6, 0.4])  # 0.7 is the worse at the rung
    assert source.why_ended() is None  # nor does it reach the target
    assert source.next_job() is None
    misfit = edited.record().trials[1]
    assert (misfit.state, misfit.score, misfit.steps, misfit.params["x"]) == (TrialState.COMPLETE, 0.4, 4, 8.0)
    assert told(edited)[:2] == [(Told.COMPLETE, 0.5), (Told.FAIL, None)]
    assert make_source(study.study_dir, target, **NARROW)[0].why_ended() is None

    back, _ = edit(edited, **TRIED)
    assert told(back)[:2] == [(Told.COMPLETE, 0.5), (Told.COMPLETE, 0.4)]
    assert make_source(study.study_dir, target, **TRIED)[0].why_ended() is not None


def test_a_misfit_that_a_bug_broke_off_does_not_meet_it_again_until_it_fits(tmp_path: Path) -> None:
    source, study = make_source(tmp_path / "study", Budget(2), **TRIED)
    complete(source, next_job(source), [0.7, 0.6, 0.5, 0.5])
    broken = next_job(source)
    assert source.on_progress(broken, Progress(1, 4, 0.8), seconds=1)
    source.on_end(broken, JobEnd(EndKind.BUG, message="ZeroDivisionError: division by zero"))
    edited, _ = edit(study, **NARROW)
    trial = edited.record().trials[1]
    why = "broke off: ZeroDivisionError: division by zero"
    assert (trial.state, trial.reason, trial.is_misfit, trial.steps) == (TrialState.FAILED, why, True, 1)
    source, edited = resume(edited, 3, **NARROW)
    assert next_job(source).name == "trial-0002"

    back, _ = edit(edited, **TRIED)
    assert told(back)[1] == (Told.RUNNING, None)
    assert (back.record().trials[1].ended, back.record().trials[1].reason) == (None, why)
    source, back = resume(back, 3, **TRIED)
    complete(source, next_job(source), [0.8, 0.5, 0.4, 0.4])
    assert (back.record().trials[1].score, back.record().trials[1].reason) == (0.4, None)


def test_a_trial_in_flight_that_fits_goes_on(tmp_path: Path) -> None:
    source, study = make_source(tmp_path / "study", Budget(1), **TRIED)
    assert source.on_progress(next_job(source), Progress(1, 4, 0.7), seconds=1)
    edit(study, **NARROW)
    source, study = resume(study, 1, **NARROW)
    complete(source, next_job(source), [0.7, 0.6, 0.5, 0.5])
    assert told(study)[0] == (Told.COMPLETE, 0.5)
    assert study.optuna_study.get_trials()[0].params["x"] == 0.0


def test_a_waiting_misfit_is_not_run_and_waits_again_once_it_fits(tmp_path: Path) -> None:
    source, study = make_source(tmp_path / "study", Budget(1), **TRIED)
    complete(source, next_job(source), [0.5])
    edited, found = edit(study, **NARROW)
    assert (set(found.misfits), set(found.waiting_misfits)) == (set(), {1})
    assert found.summary == (
        "The space file has changed (enqueue, search). All trials of the study fit it. Enqueued configs that do not "
        "fit it are not run: 1 (trial 1: x = 8.0 lies outside the searched [-5.0, 5.0])."
    )
    assert (len(edited.record().trials), edited.record().num_waiting) == (1, 1)
    source, edited = resume(study, 2, **NARROW)
    assert next_job(source).config["x"] == 1.0
    back, _ = edit(edited, **TRIED)
    assert (len(back.record().trials), back.record().num_waiting) == (2, 1)
    source, back = resume(study, 3, **TRIED)
    assert next_job(source).config["x"] == 1.0  # in flight
    assert next_job(source).config["x"] == 8.0


def test_new_configs_of_the_file_are_enqueued_and_known_ones_are_not(tmp_path: Path) -> None:
    study = searched(tmp_path / "study")
    entries = [{"x": 8.0, "y": 1}, {"x": 4.0, "y": 4}]
    edited, _ = edit(study, enqueue=entries)
    assert edited.record().num_waiting == 1
    source, _ = resume(study, 4, enqueue=entries)
    config = next_job(source).config
    assert (config["x"], config["y"]) == (4.0, 4)


def test_a_config_enqueued_while_the_space_is_edited_waits_in_the_edited_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = searched(tmp_path / "study")
    (tmp_path / "mine.yaml").write_text("x: 4.5\n")
    waits, lock, write = Event(), fcntl.flock, study_edit.write_manifest
    enqueuing = Thread(target=enqueue, args=(study.study_dir, [tmp_path / "mine.yaml"]))

    def lock_and_tell(file: Any, operation: int) -> None:
        if operation == fcntl.LOCK_EX and current_thread() is enqueuing:
            waits.set()
        lock(file, operation)

    def write_later(path: Path, text: str) -> None:  # all trials have been moved
        monkeypatch.setattr("ell_tune.studies.study_lock.fcntl.flock", lock_and_tell)
        enqueuing.start()
        while not waits.wait(0.01) and enqueuing.is_alive():
            pass
        write(path, text)

    monkeypatch.setattr(study_edit, "write_manifest", write_later)
    edited, _ = edit(study, **NARROW)
    enqueuing.join()
    assert edited.record().num_waiting == 1
    assert open_study(study.study_dir).optuna_study.get_trials()[3].user_attrs["config"]["x"] == 4.5


def test_another_base_config_is_tried_first(tmp_path: Path) -> None:
    study = searched(tmp_path / "study")
    search = {**SPACE["search"], "x": {"float": [-10.0, 10.0], "default": 2.0}}
    edit(study, search=search, enqueue=[])
    source, _ = resume(study, 4, search=search, enqueue=[])
    config = next_job(source).config
    assert (config["x"], config["y"]) == (2.0, 0)


def test_a_duplicate_keeps_its_own_config_under_another_base_config(tmp_path: Path) -> None:
    _, study = make_source(tmp_path / "study", Budget(2), enqueue=[{"y": 3}])
    enqueue_again(study, 1)
    source, study = resume(study, 3, enqueue=[{"y": 3}])
    run_all(source, tmp_path / "artifacts")
    search = {**SPACE["search"], "x": {"float": [-10.0, 10.0], "default": 2.0}}
    edit(study, search=search, enqueue=[])
    file = tmp_path / "mine.yaml"
    file.write_text("y: 3\n")  # now with x = 2
    assert [outcome.same_as for outcome in enqueue(study.study_dir, [file])] == [None]


def test_trials_are_measured_by_the_constraints_of_the_edited_space(tmp_path: Path) -> None:
    source, study = make_source(tmp_path / "study", Budget(2), **TRIED)
    for parameters in (100.0, 60.0):
        complete(source, next_job(source), [0.5], {"num_parameters": parameters})
    assert [trial.constraints for trial in study.optuna_study.get_trials()[:2]] == [{}, {}]
    settings = {"num_folds": 2, "constraints": {"num_parameters": 80, "seconds_per_essay": 1.0}}
    limited, _ = edit(study, **TRIED, study=settings)
    assert [trial.constraints for trial in limited.optuna_study.get_trials()[:2]] == [
        {"num_parameters": 0.25, "seconds_per_essay": 0.0},
        {"num_parameters": -0.25, "seconds_per_essay": 0.0},
    ]
    free, _ = edit(limited, **TRIED)
    assert [trial.constraints for trial in free.optuna_study.get_trials()[:2]] == [{}, {}]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"study": {"num_folds": 2, "seed": 7}}, "study.seed"),
        ({"study": {"num_folds": 3}}, "study.num_folds"),
        ({"study": {"num_folds": 2, "fold": 1}}, "study.fold"),
        ({"study": {"num_folds": 2, "artifacts": "s3://bucket/there"}}, "study.artifacts"),
        ({"data": {"targets": ["grammar"]}}, "data"),
        ({"data": {"targets": ["grammar"]}, "study": {"num_folds": 3, "seed": 7}}, "data, study.seed, study.num_folds"),
    ],
)
def test_what_scores_depend_on_cannot_be_edited(tmp_path: Path, changes: dict[str, Any], named: str) -> None:
    study, _ = make_study(tmp_path / "study")
    before = {path: path.read_bytes() for path in study.study_dir.iterdir() if path.is_file()}
    path = write_space(tmp_path / "edited.yaml", **changes)
    with pytest.raises(UserError) as error:
        compare(study, load_search_spec(path), path)
    assert str(error.value) == (
        f"{path}: a study goes on with an edited space, but not with another {named}, because its scores would not "
        f"compare with those of {study.study_dir}. Take the change back, or give another --study."
    )
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize("dies_at", ["_moved", "write_manifest"])
def test_an_edit_killed_halfway_leaves_the_old_study_and_can_be_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies_at: str
) -> None:
    study = searched(tmp_path / "study")
    before = study.record()

    class Killed(BaseException):
        pass

    moved, num_moved = study_edit._moved, 0

    def die(*arguments: Any) -> Any:
        nonlocal num_moved
        num_moved += 1
        if dies_at.endswith("_moved") and num_moved < 2:
            return moved(*arguments)
        raise Killed

    monkeypatch.setattr(f"ell_tune.studies.study_edit.{dies_at}", die)
    with pytest.raises(Killed):
        edit(study, **NARROW)
    monkeypatch.undo()
    assert optuna_name({**study.manifest, "generation": 1}) in optuna.get_all_study_names(
        study.storage
    )  # half of it is there
    assert open_study(study.study_dir).record() == before
    edited, _ = edit(open_study(study.study_dir), **NARROW)
    assert edited.record().trials == with_misfits(before.trials, 1)
    assert [state for state, _ in told(edited)] == [Told.COMPLETE, Told.FAIL, Told.COMPLETE]
