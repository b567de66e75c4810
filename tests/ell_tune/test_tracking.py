"""The trackers: what a real offline W&B run holds, and that a broken tracker disturbs nobody."""

import json
import logging
import multiprocessing
import socket
import subprocess
import sys
import threading
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from pydantic import ValidationError

from ell_tune.errors import UserError
from ell_tune.tracking import ChildTracker, NullTracker, TrackingConfig, make_tracker

ROOT = Path(__file__).parents[2]
OFFLINE = TrackingConfig(name="wandb")

# Prints the records of a .wandb file as JSON: LevelDB's log format behind a header of 7 bytes.
_READ_RUN = """
import json, pathlib, struct, sys
from google.protobuf.json_format import MessageToDict
from wandb.proto.wandb_internal_pb2 import Record
raw, offset = pathlib.Path(sys.argv[1]).read_bytes(), 7
while offset + 7 <= len(raw):
    _, length, kind = struct.unpack("<IHB", raw[offset:offset + 7])
    assert kind == 1, "the record is split over blocks; this reader takes whole ones"
    record = Record.FromString(raw[offset + 7:offset + 7 + length])
    print(json.dumps(MessageToDict(record, preserving_proto_field_name=True)))
    offset += 7 + length
"""


def read_run(path: Path) -> list[dict]:
    command = [sys.executable, "-c", _READ_RUN, str(path)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return [json.loads(line) for line in lines]


def values(items: list[dict]) -> dict[str, object]:
    return {(item.get("key") or item["nested_key"][0]): json.loads(item["value_json"]) for item in items}


def patient_tracker(tracking_dir: Path) -> ChildTracker:
    tracker = make_tracker(OFFLINE, "fb3/first search", tracking_dir)
    assert isinstance(tracker, ChildTracker)
    tracker._close_seconds = 120.0  # a busy machine may take longer than a search would wait
    return tracker


@pytest.fixture(scope="module")
def tracking_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search with two trials in flight at once; it was interrupted before trial 1 ended."""
    tracking_dir = tmp_path_factory.mktemp("study") / "tracking"
    tracker = patient_tracker(tracking_dir)
    tracker.trial_started(0, {"lr": 2e-5, "head": {"pooling": "mean"}})
    tracker.trial_started(1, {"lr": 1e-5})
    tracker.trial_reported(0, 1, {"score": 0.51, "train_loss": 0.3})
    tracker.trial_reported(1, 1, {"score": 0.60})
    tracker.trial_reported(0, 2, {"score": 0.46, "train_loss": 0.2})
    tracker.trial_ended(0, "complete", 0.46)
    tracker.close()
    return tracking_dir


def test_an_offline_run_holds_the_config_and_the_numbers(tracking_dir: Path) -> None:
    [path] = tracking_dir.rglob("*-0.wandb")
    records = read_run(path)
    [run] = [record["run"] for record in records if "run" in record]
    assert (run["project"], run["run_group"]) == ("ell-tune", "fb3/first search")
    assert run["display_name"] == "trial 0"
    config = values(run["config"]["update"])
    assert (config["lr"], config["head"]) == (2e-5, {"pooling": "mean"})
    history = [values(record["history"]["item"]) for record in records if "history" in record]
    reported = [(row["step"], row["score"], row["train_loss"]) for row in history]
    assert reported == [(1, 0.51, 0.3), (2, 0.46, 0.2)]
    summary: dict[str, object] = {}
    for record in records:
        summary |= values(record.get("summary", {}).get("update", []))
    assert (summary["state"], summary["score"]) == ("complete", 0.46)


def test_an_offline_run_holds_nothing_of_the_machine(tracking_dir: Path) -> None:
    paths = list(tracking_dir.rglob("*.wandb"))
    assert len(paths) == 2
    for path in paths:
        sent = path.read_bytes()
        assert socket.gethostname().encode() not in sent
        assert str(Path(sys.prefix)).encode() not in sent
    # Neither requirements.txt, wandb-metadata.json, code, nor a console log.
    assert [path.name for path in tracking_dir.rglob("files/*") if path.is_file()] == []


def test_an_interrupted_trial_goes_on_in_the_same_run(tracking_dir: Path, tmp_path: Path) -> None:
    tracker = patient_tracker(tmp_path)
    tracker.trial_started(1, {"lr": 1e-5})
    tracker.trial_reported(1, 2, {"score": 0.55})
    tracker.close()

    [before] = tracking_dir.rglob("*-1.wandb")
    [after] = tmp_path.rglob("*-1.wandb")
    assert [record["exit"]["exit_code"] for record in read_run(before) if "exit" in record] == [1]
    ids = [record["run"]["run_id"] for path in (before, after) for record in read_run(path) if "run" in record]
    assert len(ids) == 2
    assert ids[0] == ids[1]


def hang(events: Connection) -> None:
    threading.Event().wait()


def give_up(events: Connection) -> None:
    events.recv()
    events.close()


def collect(events: Connection, answer: Connection) -> None:
    received = []
    try:
        while True:
            received.append(tuple(events.recv()))
    except EOFError:
        answer.send(received)


def test_a_child_that_hangs_blocks_neither_reports_nor_close(caplog: pytest.LogCaptureFixture) -> None:
    # Far more than the queue and the pipe hold together.
    tracker = ChildTracker(hang, queue_events=100, close_seconds=0.5)
    tracker.trial_started(0, {"lr": 1e-5})
    for step in range(1000):
        tracker.trial_reported(0, step, {f"metric_{index}": 0.5 for index in range(50)})
    tracker.close()

    assert [record.getMessage() for record in caplog.records] == [
        "Tracking stops here: it is 100 events behind. The search goes on, and the study has it all.",
        "The tracker did not finish within 0.5 seconds and was ended; the study has every number, "
        "the tracker may lack the last ones.",
    ]
    assert tracker._process.exitcode == -9


def test_a_child_that_dies_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    tracker = ChildTracker(give_up)
    tracker.trial_started(0, {})
    tracker._process.join()
    for step in range(1000):
        tracker.trial_reported(0, step, {"score": 0.5})
    tracker._feeder.join()
    tracker.trial_ended(0, "complete", 0.5)
    tracker.close()

    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (
            logging.WARNING,
            "Tracking stops here: its process ended. The search goes on, and the study has it all.",
        )
    ]


def test_the_child_gets_every_event_in_order() -> None:
    here, there = multiprocessing.get_context("spawn").Pipe(duplex=False)
    tracker = ChildTracker(collect, there)
    there.close()
    tracker.trial_started(3, {"lr": 1e-5})
    for step in range(1, 501):
        tracker.trial_reported(3, step, {"score": 1 / step})
    tracker.trial_ended(3, "stopped", None)
    tracker._queue.put(None)  # what close() does first; here the answer is read before the child is joined
    assert here.recv() == [
        (3, {"lr": 1e-5}),
        *[(3, step, {"score": 1 / step}) for step in range(1, 501)],
        (3, "stopped", None),
    ]
    tracker.close()
    assert tracker._process.exitcode == 0


def test_without_a_tracker_nothing_is_written(tmp_path: Path) -> None:
    tracker = make_tracker(None, "fb3", tmp_path / "tracking")
    tracker.trial_started(0, {"lr": 1e-5})
    tracker.trial_reported(0, 1, {"score": 0.5})
    tracker.trial_ended(0, "complete", 0.5)
    tracker.close()
    assert isinstance(tracker, NullTracker)
    assert list(tmp_path.iterdir()) == []


def test_the_searching_process_never_imports_wandb(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from ell_tune.tracking import TrackingConfig, make_tracker\n"
        "tracker = make_tracker(TrackingConfig(name='wandb'), 'fb3', Path(sys.argv[1]))\n"
        "tracker.close()\n"
        "print(sorted(name for name in sys.modules if name.partition('.')[0] == 'wandb'))\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


def test_online_without_a_login_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path))
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match=r"`mode: online` needs .* and a login.*choose `mode: offline`"):
        make_tracker(TrackingConfig(name="wandb", mode="online"), "fb3", tmp_path / "tracking")
    assert not (tmp_path / "tracking").exists()


def test_a_wandb_that_cannot_be_imported_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "wandb.py").write_text("raise ImportError('half-installed')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(UserError, match=r"`import wandb` failed: ImportError: half-installed\. Install it"):
        make_tracker(OFFLINE, "fb3", tmp_path / "tracking")


@pytest.mark.parametrize("config", [{"name": "mlflow"}, {"name": "wandb", "mode": "shared"}, {"project": ""}])
def test_an_unknown_tracker_or_mode_is_refused(config: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        TrackingConfig(**{"name": "wandb"} | config)  # type: ignore[arg-type]
