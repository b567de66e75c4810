"""Ended trials, judged once more by edited constraints."""

from pathlib import Path
from typing import Any

from edited_studies import NARROW, TRIED, Told, complete, edit, next_job, resume, told
from studies import make_source

from ell_tune.runs.budget import Budget
from ell_tune.studies.study import Study, open_study
from ell_tune.trainable import Progress
from ell_tune.trials.records import TrialState


def limited(**limits: float) -> dict[str, Any]:
    """A space file with these constraints."""
    return {**TRIED, "study": {"num_folds": 2, "constraints": limits}}


def states(study: Study) -> list[tuple[TrialState, str | None]]:
    return [(trial.state, trial.reason) for trial in study.record().trials]


def test_a_tighter_constraint_fails_trials_and_a_looser_one_takes_it_back(tmp_path: Path) -> None:
    source, study = make_source(tmp_path / "study", Budget(2), **TRIED)
    for parameters in (100.0, 60.0):
        complete(source, next_job(source), [0.6, 0.5], {"num_parameters": parameters})
    before = told(study)
    edited, found = edit(study, **limited(num_parameters=80))
    assert found.summary.endswith("All trials of the study fit it. By its constraints these trials have failed: 0.")
    assert states(edited) == [
        (TrialState.FAILED, "breaks a constraint: num_parameters is 100, and may be 80"),
        (TrialState.COMPLETE, None),
    ]
    assert told(edited)[:2] == [(Told.PRUNED, None), before[1]]
    back, found = edit(edited, **limited(num_parameters=120))
    assert found.summary.endswith("By its constraints these trials are complete again: 0.")
    assert states(back) == [(TrialState.COMPLETE, None)] * 2
    assert told(back)[:2] == before[:2]


def test_a_trial_that_broke_a_constraint_goes_on_once_it_is_looser(tmp_path: Path) -> None:
    tight = limited(num_parameters=80)
    source, study = make_source(tmp_path / "study", Budget(1), **tight)
    job = next_job(source)
    assert not source.on_progress(job, Progress(1, 4, 0.7, {"num_parameters": 100.0}), seconds=1)
    assert states(study) == [(TrialState.FAILED, "breaks a constraint: num_parameters is 100, and may be 80")]
    _, found = edit(study, **limited(num_parameters=90))
    assert found.judged == {}
    edited, found = edit(open_study(study.study_dir), **limited(num_parameters=100))
    assert found.summary.endswith("By its constraints these trials go on, which had failed: 0.")
    assert states(edited) == [(TrialState.RUNNING, None)]
    source, edited = resume(edited, 1, **limited(num_parameters=100))
    again = next_job(source)
    assert (again.name, again.config) == (job.name, job.config)
    complete(source, again, [0.7, 0.6, 0.5, 0.5], {"num_parameters": 100.0})
    assert states(edited) == [(TrialState.COMPLETE, None)]
    assert told(edited)[0] == (Told.COMPLETE, 0.5)


def test_a_diverged_trial_and_a_misfit_are_not_judged_again(tmp_path: Path) -> None:
    tight = limited(num_parameters=80)
    source, study = make_source(tmp_path / "study", Budget(2), **tight)
    jobs = [next_job(source), next_job(source)]
    assert not source.on_progress(jobs[0], Progress(1, 4, float("nan"), {"num_parameters": 60.0}), seconds=1)
    assert not source.on_progress(jobs[1], Progress(1, 4, 0.7, {"num_parameters": 100.0}), seconds=1)  # x = 8
    loose = {**limited(num_parameters=120), "search": NARROW["search"], "enqueue": []}
    edited, found = edit(study, **loose)
    assert (found.judged, set(found.misfits)) == ({}, {1})
    assert [state for state, _ in states(edited)] == [TrialState.FAILED] * 2
    back, found = edit(edited, **limited(num_parameters=120))
    assert {number: judgement.state for number, judgement in found.judged.items()} == {1: TrialState.RUNNING}
    assert [state for state, _ in states(back)] == [TrialState.FAILED, TrialState.RUNNING]
