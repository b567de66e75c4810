"""A search with constraints, without Ray."""

from pathlib import Path

import pytest
from studies import make_source

from ell_tune.errors import UserError
from ell_tune.runs.budget import Budget
from ell_tune.runs.search_source import SearchSource
from ell_tune.trainable import Progress


def test_a_trial_that_breaks_a_constraint_ends_and_the_sampler_learns_by_how_much(tmp_path: Path) -> None:
    settings = {"num_folds": 2, "constraints": {"num_parameters": 80, "seconds_per_essay": 1.0}}
    source, study = make_source(tmp_path / "study", Budget(num_trials=3), study=settings)
    for index, measures in enumerate([{"num_parameters": 100.0}, {"num_parameters": 60.0, "seconds_per_essay": 3.0}]):
        job = source.next_job()
        assert job is not None
        assert not source.on_progress(job, Progress(1, 4, 0.5, measures), seconds=1)
        assert study.record().trials[index].measures == measures
    reasons = [trial.reason for trial in study.record().trials]
    assert reasons == [
        "breaks a constraint: num_parameters is 100, and may be 80",
        "breaks a constraint: seconds_per_essay is 3, and may be 1",
    ]
    seen = [trial.constraints for trial in study.optuna_study.get_trials()[:2]]
    assert seen == [
        {"num_parameters": 0.25, "seconds_per_essay": 0.0},
        {"num_parameters": -0.25, "seconds_per_essay": 2.0},
    ]
    kept = source.next_job()
    assert kept is not None
    assert source.on_progress(kept, Progress(1, 4, 0.5, {"num_parameters": 80.0}), seconds=1)


def test_a_constraint_on_what_no_evaluation_measures_is_refused(tmp_path: Path) -> None:
    settings = {"num_folds": 2, "constraints": {"num_parameters": 80, "seconds_per_essay": 1.0}}
    source, _ = make_source(tmp_path / "study", Budget(num_trials=1), study=settings)
    job = source.next_job()
    assert job is not None
    assert source.on_progress(job, Progress(1, 2, 0.5, {"num_parameters": 60.0}), seconds=1)
    with pytest.raises(UserError) as error:
        source.on_progress(job, Progress(2, 2, 0.5), seconds=1)
    assert str(error.value).startswith(
        "study.constraints.seconds_per_essay: a constraint needs a trainable that measures it, but trial 0 came to its "
        "end without. Leave the constraint out, or let fake_trainable report seconds_per_essay"
    )


@pytest.mark.parametrize("fault", ["diverges", "breaks a constraint"])
def test_a_trial_that_fails_at_a_rung_counts_there_as_it_does_after_a_restart(tmp_path: Path, fault: str) -> None:
    settings = {"num_folds": 2, "constraints": {"num_parameters": 80}}
    changes = {"study": settings, "enqueue": [{"x": 1.0}, {"x": 2.0}]}

    def two_trials(folder: Path) -> SearchSource:
        source, _ = make_source(folder, Budget(num_trials=3), **changes)
        for first, second, parameters in [(0.5, 0.5, 1.0), (0.6, float("nan") if fault == "diverges" else 0.6, 100.0)]:
            job = source.next_job()
            assert job is not None
            source.on_progress(job, Progress(1, 4, first), seconds=1)
            measures = {} if fault == "diverges" else {"num_parameters": parameters}
            source.on_progress(job, Progress(2, 4, second, measures), seconds=1)
        return source

    going_on = two_trials(tmp_path / "one")
    two_trials(tmp_path / "two")
    resumed, _ = make_source(tmp_path / "two", Budget(num_trials=3), **changes)
    assert resumed.next_job() is not None  # the first trial, which goes on
    for source in (going_on, resumed):
        job = source.next_job()
        assert job is not None and job.name == "trial-0002"
        assert source.on_progress(job, Progress(1, 4, 0.55), seconds=1)
        assert source.on_progress(job, Progress(2, 4, 0.55), seconds=1)  # the second of three
