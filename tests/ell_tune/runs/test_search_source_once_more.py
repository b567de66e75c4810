"""What is reported once more, after a process died, is not decided once more; without Ray."""

from pathlib import Path
from typing import Any

import pytest
from edited_studies import complete, edit, next_job
from plain_engine import killed, run_all
from studies import SPACE, make_source

from ell_tune.errors import UserError
from ell_tune.files.artifacts import RESULT_ITEM
from ell_tune.running.jobs import EndKind, JobEnd
from ell_tune.runs.budget import Budget
from ell_tune.trainable import Progress
from ell_tune.trials.records import TrialState

HALVING: dict[str, Any] = {"study": {"num_folds": 2, "scheduler": {"name": "asha", "reduction_factor": 2}}}


@pytest.mark.parametrize("died", ["worker", "driver"])
def test_a_trial_that_passed_a_rung_is_not_held_back_by_those_that_came_after(tmp_path: Path, died: str) -> None:
    source, study = make_source(tmp_path / "study", Budget(2), **HALVING)
    first, second = next_job(source), next_job(source)
    for step in (1, 2):
        assert source.on_progress(first, Progress(step, 4, 0.8), seconds=1)
    for step in (1, 2):
        assert source.on_progress(second, Progress(step, 4, 0.5), seconds=1)
    if died == "driver":
        source, study = make_source(tmp_path / "study", Budget(2), **HALVING)
        first = next_job(source)
    assert source.on_progress(first, Progress(2, 4, 0.8), seconds=1)  # once more
    assert source.on_progress(first, Progress(3, 4, 0.8), seconds=1)
    assert study.record().trials[0].state == TrialState.RUNNING


def test_a_trial_that_was_to_be_stopped_when_the_driver_died_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, study = make_source(tmp_path / "study", Budget(2), **HALVING)
    first, second = next_job(source), next_job(source)
    for step in (1, 2):
        assert source.on_progress(first, Progress(step, 4, 0.5), seconds=1)
    assert source.on_progress(second, Progress(1, 4, 0.8), seconds=1)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(source, "_tell", killed)
        source.on_progress(second, Progress(2, 4, 0.8), seconds=1)
    source, study = make_source(tmp_path / "study", Budget(2), **HALVING)
    first, second = next_job(source), next_job(source)
    assert source.on_progress(second, Progress(1, 4, 0.8), seconds=1)  # from its first checkpoint: the last is damaged
    assert not source.on_progress(second, Progress(2, 4, 0.8), seconds=1)
    trial = study.record().trials[1]
    assert (trial.state, trial.reason) == (TrialState.STOPPED, "not among the best 1 of 2 at the rung of step 2")


def test_a_journal_from_an_older_copy_goes_on_without_the_results_that_it_knows_nothing_of(tmp_path: Path) -> None:
    source, study = make_source(tmp_path / "study", Budget(1))
    old = (study.study_dir / "journal.log").read_bytes()
    job = next_job(source)
    half = None
    for step in (1, 2, 3, 4):
        assert source.on_progress(job, Progress(step, 4, 1 / step), seconds=1)
        half = half or (study.study_dir / "journal.log").read_bytes()
    folder = study.artifact_folder(0)
    folder.publish(RESULT_ITEM, lambda directory: None)
    folder.publish("checkpoint-000003", lambda directory: None)

    make_source(tmp_path / "study", Budget(1))[0].next_job()
    assert folder.names() == ["checkpoint-000003", RESULT_ITEM]  # the result waits to be told
    assert half is not None
    (study.study_dir / "journal.log").write_bytes(half)
    make_source(tmp_path / "study", Budget(1))[0].next_job()
    assert folder.names() == ["checkpoint-000003"]
    (study.study_dir / "journal.log").write_bytes(old)
    source, study = make_source(tmp_path / "study", Budget(1))
    assert next_job(source).config == job.config
    assert folder.names() == []


def test_a_base_config_that_cannot_be_trained_ends_the_search(tmp_path: Path) -> None:
    source, study = make_source(tmp_path / "study", Budget(3))
    job = next_job(source)
    with pytest.raises(UserError) as caught:
        source.on_end(job, JobEnd(EndKind.BAD_CONFIG, message="pooling needs 9 states, and there are 4."))
    assert str(caught.value) == (
        "a search begins with the base config, so that one has to be trainable, but it failed before its first "
        "evaluation: pooling needs 9 states, and there are 4. Correct `base:` in the space file, or the `default:` of "
        "a searched field."
    )
    assert study.record().trials[0].state == TrialState.FAILED


def test_a_base_config_of_an_edited_space_ends_it_too(tmp_path: Path) -> None:
    source, study = make_source(tmp_path / "study", Budget(3))
    complete(source, next_job(source), [0.5])
    edited = {"search": {**SPACE["search"], "x": {"float": [-5.0, 5.0], "default": 1.0}}, "enqueue": []}
    edit(study, **edited)
    source, study = make_source(tmp_path / "study", Budget(3), **edited)
    base = next(job for job in (next_job(source), next_job(source)) if job.config["x"] == 1.0)
    assert base.name != "trial-0000"
    with pytest.raises(UserError, match="a search begins with the base config"):
        source.on_end(base, JobEnd(EndKind.BAD_CONFIG, message="it does not fit"))


def test_a_base_config_that_was_evaluated_and_other_configs_fail_alone(tmp_path: Path) -> None:
    source, study = make_source(tmp_path / "study", Budget(2))
    job = next_job(source)
    assert source.on_progress(job, Progress(1, 4, 0.7), seconds=1)
    source.on_end(job, JobEnd(EndKind.BAD_CONFIG, message="out of memory"))
    source.on_end(next_job(source), JobEnd(EndKind.BAD_CONFIG, message="out of memory"))
    assert [trial.state for trial in study.record().trials] == [TrialState.FAILED] * 2


def test_training_from_nothing_once_more_makes_a_schedule_no_longer(tmp_path: Path) -> None:
    source, study = make_source(tmp_path / "study", Budget(1))
    assert source.on_progress(next_job(source), Progress(1, 2, 0.7), seconds=3)
    source, study = make_source(tmp_path / "study", Budget(1))
    complete(source, next_job(source), [0.7, 0.6])
    (trial,) = study.record().trials
    assert (trial.seconds, trial.schedule_seconds) == (5, 4)
    run_all(source, tmp_path)  # nothing is left
