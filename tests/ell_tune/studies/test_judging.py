"""Ended trials, judged once more by edited constraints."""

from pathlib import Path
from typing import Any

import pytest
from edited_studies import NARROW, TRIED, Told, complete, edit, next_job, resume, told
from plain_engine import killed
from studies import make_source

from ell_tune.running.jobs import EndKind, JobEnd
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
    assert told(edited)[:2] == [(Told.PRUNED, 0.5), before[1]]
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
    edited, found = edit(study, **limited(num_parameters=90))
    assert "failed" not in found.summary
    assert states(edited) == [(TrialState.FAILED, "breaks a constraint: num_parameters is 100, and may be 90")]
    edited, found = edit(open_study(study.study_dir), **limited(num_parameters=100))
    assert found.summary.endswith("By its constraints these trials go on, which had failed: 0.")
    assert states(edited) == [(TrialState.RUNNING, None)]
    source, edited = resume(edited, 1, **limited(num_parameters=100))
    again = next_job(source)
    assert (again.name, again.config) == (job.name, job.config)
    complete(source, again, [0.7, 0.6, 0.5, 0.5], {"num_parameters": 100.0})
    assert states(edited) == [(TrialState.COMPLETE, None)]
    assert told(edited)[0] == (Told.COMPLETE, 0.5)


def test_a_stopped_trial_is_a_stopped_one_again(tmp_path: Path) -> None:
    source, study = make_source(tmp_path / "study", Budget(1, trial_seconds=2), **TRIED)
    assert not source.on_progress(next_job(source), Progress(1, 4, 0.7, {"num_parameters": 100.0}), seconds=3)
    before = states(study), told(study)
    assert before[0] == [(TrialState.STOPPED, "a trial has 2 s, which are used up")]
    edited, _ = edit(study, **limited(num_parameters=80))
    assert [state for state, _ in states(edited)] == [TrialState.FAILED]
    back, found = edit(edited, **TRIED)
    assert found.summary.endswith("By its constraints these trials are stopped ones again: 0.")
    assert (states(back), told(back)) == before


@pytest.mark.parametrize("fault", ["diverges", "bad config"])
def test_what_failed_for_another_reason_stays_failed(tmp_path: Path, fault: str) -> None:
    source, study = make_source(tmp_path / "study", Budget(1), **limited(num_parameters=200))
    job = next_job(source)
    score = float("nan") if fault == "diverges" else 0.7
    source.on_progress(job, Progress(1, 1 if fault == "diverges" else 4, score, {"num_parameters": 100.0}), seconds=1)
    if fault == "bad config":
        source.on_end(job, JobEnd(EndKind.BAD_CONFIG, message="it does not fit"))
    before = states(study), told(study)
    assert before[0][0][0] == TrialState.FAILED
    edited, found = edit(study, **limited(num_parameters=80))
    assert found.judged == {}
    back, found = edit(edited, **limited(num_parameters=120))
    assert (found.judged, states(back), told(back)) == ({}, *before)


def test_a_limit_that_is_broken_again_on_the_way_can_be_loosened_again(tmp_path: Path) -> None:
    source, study = make_source(tmp_path / "study", Budget(1), **limited(num_parameters=15))
    for step, limit, next_limit in [(1, 15, 25), (2, 25, 100)]:
        job = next_job(source)
        assert not source.on_progress(job, Progress(step, 3, 0.7, {"num_parameters": 10.0 + 10 * step}), seconds=1)
        assert states(study)[0][1] == f"breaks a constraint: num_parameters is {10 + 10 * step}, and may be {limit}"
        violation = study.optuna_study.get_trials()[0].constraints["num_parameters"]
        assert violation == pytest.approx((10 + 10 * step) / limit - 1)
        study, found = edit(study, **limited(num_parameters=next_limit))
        assert [judgement.state for judgement in found.judged.values()] == [TrialState.RUNNING]
        source, study = resume(study, 1, **limited(num_parameters=next_limit))
    complete(source, next_job(source), [0.7, 0.7, 0.6], {"num_parameters": 40.0})
    assert states(study) == [(TrialState.COMPLETE, None)]


def test_misfits_are_judged_once_they_fit_again(tmp_path: Path) -> None:
    source, study = make_source(tmp_path / "study", Budget(2), **limited(num_parameters=80))
    complete(source, next_job(source), [0.5], {"num_parameters": 60.0})
    assert not source.on_progress(next_job(source), Progress(1, 4, 0.7, {"num_parameters": 100.0}), seconds=1)  # x = 8
    loose = {**limited(num_parameters=120), "search": NARROW["search"], "enqueue": []}
    edited, found = edit(study, **loose)
    assert (found.judged, set(found.misfits)) == ({}, {1})
    back, found = edit(edited, **limited(num_parameters=120))
    assert {number: judgement.state for number, judgement in found.judged.items()} == {1: TrialState.RUNNING}
    assert [state for state, _ in states(back)] == [TrialState.COMPLETE, TrialState.RUNNING]


def test_misfits_are_judged_too_and_none_of_them_goes_on(tmp_path: Path) -> None:
    source, study = make_source(tmp_path / "study", Budget(2), **TRIED)
    complete(source, next_job(source), [0.6], {"num_parameters": 60.0})
    complete(source, next_job(source), [0.5], {"num_parameters": 100.0})  # x = 8
    before = states(study), told(study)
    narrow = {"search": NARROW["search"], "enqueue": []}
    edited, found = edit(study, **{**limited(num_parameters=80), **narrow})
    assert set(found.misfits) == {1}
    assert found.summary.endswith("By its constraints these trials have failed: 1.")
    why = "breaks a constraint: num_parameters is 100, and may be 80"
    assert states(edited) == [(TrialState.COMPLETE, None), (TrialState.FAILED, why)]
    assert told(edited)[1] == (Told.FAIL, None)
    back, found = edit(edited, **{**limited(num_parameters=120), **TRIED})
    assert found.summary.endswith("By its constraints these trials are complete again: 1.")
    assert (states(back), told(back)[:2]) == (before[0], before[1][:2])


def test_a_stopped_trial_is_told_as_before_once_a_constraint_is_loosened_again(tmp_path: Path) -> None:
    def space(**limits: float) -> dict[str, Any]:
        study = {"num_folds": 2, "stopped_as": "extrapolated", "constraints": limits}
        return {**TRIED, "study": study}

    source, study = make_source(tmp_path / "study", Budget(2), **space())
    complete(source, next_job(source), [0.9, 0.7, 0.6, 0.5], {"num_parameters": 60.0})
    job = next_job(source)
    for step, goes_on in [(1, True), (2, False)]:
        assert source.on_progress(job, Progress(step, 4, 0.9, {"num_parameters": 100.0}), seconds=1) is goes_on
    before = told(study)
    assert before[1] == (Told.COMPLETE, pytest.approx(0.7))  # 0.9 less what the complete one gained from there on
    edited, _ = edit(study, **space(num_parameters=80))
    assert told(edited)[1] == (Told.COMPLETE, float("inf"))
    back, _ = edit(edited, **space(num_parameters=120))
    assert told(back)[:2] == before[:2]


@pytest.mark.parametrize("untold", ["its completion", "the end of it"])
def test_a_trial_whose_end_was_not_told_breaks_a_constraint_that_was_tightened_meanwhile(
    tmp_path: Path, untold: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, study = make_source(tmp_path / "study", Budget(1), **TRIED)
    job = next_job(source)
    assert source.on_progress(job, Progress(1, 1, 0.5, {"num_parameters": 100.0}), seconds=1)
    if untold == "the end of it":  # the process dies between the outcome and Optuna's
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(
                study.optuna_study.__class__, "tell", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt)
            )
            source.on_end(job, JobEnd(EndKind.COMPLETE, score=0.5))
    edited, found = edit(open_study(study.study_dir), **limited(num_parameters=80))
    assert found.judged == {}
    source, edited = resume(edited, 1, **limited(num_parameters=80))
    source.on_end(next_job(source), JobEnd(EndKind.COMPLETE, score=0.5))  # its result was there
    assert states(edited) == [(TrialState.FAILED, "breaks a constraint: num_parameters is 100, and may be 80")]
    assert told(edited)[0] == (Told.PRUNED, 0.5)
    back, found = edit(edited, **limited(num_parameters=120))
    assert [judgement.state for judgement in found.judged.values()] == [TrialState.RUNNING]
    assert states(back) == [(TrialState.RUNNING, None)]


def test_the_reason_of_a_failure_is_a_limit_that_there_is(tmp_path: Path) -> None:
    measures = {"num_parameters": 9000.0, "seconds_per_essay": 2.0}
    source, study = make_source(tmp_path / "study", Budget(1), **TRIED)
    complete(source, next_job(source), [0.5], measures)
    before = states(study), told(study)[0]
    edited, found = edit(study, **limited(num_parameters=5000))
    assert found.summary.endswith("By its constraints these trials have failed: 0.")
    edited, found = edit(edited, **limited(seconds_per_essay=1))
    assert "failed" not in found.summary
    assert states(edited)[0][1] == "breaks a constraint: seconds_per_essay is 2, and may be 1"
    back, _ = edit(edited, **TRIED)
    assert (states(back), told(back)[0]) == before


def test_a_trial_that_went_on_and_diverged_stays_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, study = make_source(tmp_path / "study", Budget(1), **limited(num_parameters=80))

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(source, "_tell", killed)  # when it is noted that it breaks the constraint
        source.on_progress(next_job(source), Progress(1, 4, 0.7, {"num_parameters": 100.0}), seconds=1)
    edited, _ = edit(open_study(study.study_dir), **limited(num_parameters=120))
    source, edited = resume(edited, 1, **limited(num_parameters=120))
    job = next_job(source)
    assert not source.on_progress(job, Progress(2, 4, float("nan"), {"num_parameters": 100.0}), seconds=1)
    again, found = edit(edited, **limited(num_parameters=130))
    assert (found.judged, states(again)[0][0]) == ({}, TrialState.FAILED)
