"""How a study stands, by hand: new, running, interrupted and finished."""

import os
import socket
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from plain_engine import run_all
from studies import DEVICES_PER_TRIAL, make_source, make_study

from ell_tune.errors import UserError
from ell_tune.runs.budget import Budget
from ell_tune.studies.status import as_lines, status
from ell_tune.studies.study_lock import hold_study
from ell_tune.trainable import Progress

LAST_EVENT = datetime(2026, 1, 2, 3, 4, 5).astimezone()
NOW = LAST_EVENT + timedelta(minutes=1, seconds=5)
BASE = "x=0 y=0 shape=plain bonus=off"


@pytest.fixture(autouse=True)
def no_time_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ell_tune.runs.budget.Meter.seconds", 125.0)


def read(study_dir: Path) -> dict[str, Any]:
    os.utime(study_dir / "journal.log", (LAST_EVENT.timestamp(),) * 2)
    return status(study_dir)


def test_a_new_study(tmp_path: Path) -> None:
    make_study(tmp_path / "study")
    found = read(tmp_path / "study")
    assert found == {
        "study": "study",
        "searched_by": None,
        "trials": {},
        "waiting": 2,
        "asked_for": None,
        "search_seconds": 0.0,
        "device_seconds": 0,
        "artifact_bytes": 0,
        "with_weights": [],
        "last_event": LAST_EVENT.isoformat(timespec="seconds"),
        "best": None,
        "under_way": [],
    }
    assert as_lines(found, NOW) == [
        "study: no trials yet; 0 ended",
        "2 enqueued and not started",
        "not searched now",
        "0m00s searched, 0m00s of device time, last event 1m05s ago",
    ]


def test_a_running_and_an_interrupted_study(tmp_path: Path) -> None:
    source, _ = make_source(tmp_path / "study", Budget(num_trials=9))
    job = source.next_job()
    assert job is not None
    with hold_study(tmp_path / "study", num_trials=9):
        source.on_progress(job, Progress(1, 4, 0.6123), seconds=100)
        source.next_job()
        found = read(tmp_path / "study")
    here = {"host": socket.gethostname(), "pid": os.getpid(), "num_trials": 9}
    base = {
        "number": 0,
        "state": "running",
        "score": 0.6123,
        "steps": 1,
        "num_steps": 4,
        "seconds": 100,
        "reason": None,
        "fields": BASE,
    }
    unscored = {
        "number": 1,
        "score": None,
        "steps": 0,
        "num_steps": 0,
        "seconds": 0.0,
        "fields": "x=2.5 y=2 shape=plain bonus=off",
    }
    assert found == {
        "study": "study",
        "searched_by": here,
        "trials": {"running": 2},
        "waiting": 0,
        "asked_for": 9,
        "search_seconds": 125.0,
        "device_seconds": 100 * DEVICES_PER_TRIAL,
        "artifact_bytes": 0,
        "with_weights": [],
        "last_event": LAST_EVENT.isoformat(timespec="seconds"),
        "best": base,
        "under_way": [base, {**base, **unscored}],
    }
    lines = [
        "study: 2 running; 0 of 9 ended",
        f"searched now by process {os.getpid()} on host {socket.gethostname()}",
        "2m05s searched, 0m50s of device time, last event 1m05s ago",
        f"best 0.6123 (trial 0, running): {BASE}",
        f"trial 0 running: step 1/4, score 0.6123, 1m40s: {BASE}",
        "trial 1 running: step 0/?, no score yet, 0m00s: x=2.5 y=2 shape=plain bonus=off",
    ]
    assert as_lines(found, NOW) == lines

    interrupted = read(tmp_path / "study")
    states = [{**trial, "state": "interrupted"} for trial in found["under_way"]]
    changed = {"trials": {"interrupted": 2}, "best": states[0], "under_way": states}
    assert interrupted == {**found, "searched_by": None, "asked_for": None, **changed}
    assert as_lines(interrupted, NOW) == [
        "study: 2 interrupted; 0 ended",
        "not searched now, which the same `ell-tune search` goes on with",
        lines[2],
        f"best 0.6123 (trial 0, interrupted): {BASE}",
        lines[4].replace("running", "interrupted"),
        lines[5].replace("running", "interrupted"),
    ]


def test_a_finished_study(tmp_path: Path) -> None:
    source, study = make_source(tmp_path / "study", Budget(num_trials=2), enqueue=[{"x": -10.0}])
    run_all(source, tmp_path / "artifacts")
    journal = (tmp_path / "study" / "journal.log").read_bytes()
    found = read(tmp_path / "study")
    assert found["trials"] == {"complete": 1, "stopped": 1}
    assert (found["waiting"], found["under_way"]) == (0, [])
    assert found["device_seconds"] == 6 * 2 * DEVICES_PER_TRIAL  # four and two evaluations of 2 s
    assert (found["best"]["number"], found["best"]["score"]) == (0, pytest.approx(0.58))
    assert as_lines(found, NOW) == [
        "study: 1 complete, 1 stopped; 2 ended",
        "not searched now",
        "2m05s searched, 0m06s of device time, last event 1m05s ago",
        f"best 0.5800 (trial 0, complete): {BASE}",
    ]
    assert (tmp_path / "study" / "journal.log").read_bytes() == journal


@pytest.mark.parametrize(("num_bytes", "shown"), [(900, "914 B"), (1_234_000, "1.2 MB"), (999_999, "1.0 MB")])
def test_what_lies_on_the_disk_and_which_trials_have_weights(tmp_path: Path, num_bytes: int, shown: str) -> None:
    source, study = make_source(tmp_path / "study", Budget(num_trials=1))
    run_all(source, tmp_path / "artifacts")
    folder = study.artifact_folder(0)
    folder.publish("weights", lambda directory: (directory / "w.bin").write_bytes(bytes(num_bytes)) and None)
    found = read(tmp_path / "study")
    assert found["with_weights"] == [0]
    assert f"{shown} on disk, with the weights of trials 0, the best first" in as_lines(found, NOW)


def test_why_a_trial_broke_off_is_said(tmp_path: Path) -> None:
    source, study = make_source(tmp_path / "study", Budget(num_trials=1))
    source.next_job()
    trial = study.optuna_study.get_trials()[0]
    study.storage.set_trial_user_attr(trial._trial_id, "reason", "broke off: ZeroDivisionError")
    assert as_lines(read(tmp_path / "study"), NOW)[-1] == (
        f"trial 0 interrupted: step 0/?, no score yet, 0m00s (broke off: ZeroDivisionError): {BASE}"
    )


def test_a_clock_that_is_behind_shows_no_negative_time(tmp_path: Path) -> None:
    make_study(tmp_path / "study")
    assert as_lines(read(tmp_path / "study"), LAST_EVENT - timedelta(hours=1))[-1].endswith("last event 0m00s ago")


def test_of_a_holder_that_has_not_written_yet_nothing_is_said(tmp_path: Path) -> None:
    make_study(tmp_path / "study")
    with hold_study(tmp_path / "study"):
        (tmp_path / "study" / "holder.json").write_text("")
        found = read(tmp_path / "study")
    assert found["searched_by"] == {}
    assert as_lines(found, NOW)[2] == "searched now by process ? on host ?"


def test_no_study(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere: a study folder is needed"):
        status(tmp_path / "nowhere")
