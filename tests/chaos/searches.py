"""A search as a user runs it, in a process of its own, to be killed and looked at from outside."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studies import write_space

from ell_tune.essays.sample_essays import write_sample_data
from ell_tune.studies.study import open_study
from ell_tune.trials.records import StudyRecord, TrialRecord, TrialState

NUM_ESSAYS = 20
# Optuna's codes in its journal.
TOLD, SCORED = 6, 7
ENDS = {"complete": 1, "pruned": 2, "failed": 3}


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


class Running:
    """A `search` command that runs. Its output goes to files, so that nobody has to read it."""

    def __init__(self, process: "subprocess.Popen[bytes]", out: Path, err: Path, study_dir: Path) -> None:
        self.process, self.study_dir = process, study_dir
        self._out, self._err = out, err

    def wait_until(self, condition: Callable[[], bool]) -> bool:
        """Waits for the condition, or for the command to end: whether the condition came first."""
        while not condition():
            try:
                self.process.wait(0.004)  # a short look away: to catch the command between two writes
            except subprocess.TimeoutExpired:
                continue
            return condition()
        return True

    def wait_for_lines(self, num_lines: int) -> bool:
        """Waits until the journal has so many whole lines."""
        return self.wait_until(lambda: journal_bytes(self.study_dir).count(b"\n") >= num_lines)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def ended(self) -> Ended:
        """Waits for the end."""
        self.process.wait()
        return Ended(self.process.returncode, self.out(), self._err.read_text())

    def out(self) -> str:
        """What it has printed so far."""
        return self._out.read_text()


class Searches:
    """The searches of one study, one after the other or at once."""

    def __init__(self, folder: Path, address: str | None, study_dir: Path | None = None, **space: Any) -> None:
        """`space` changes sections of `studies.SPACE`; without an `address` each search starts a Ray of its own."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.study_dir = study_dir or folder / "study"
        self._num_started = 0
        self._space = write_space(folder / "space.yaml", **space)
        self._on_ray = [] if address is None else ["--address", address]
        write_sample_data(NUM_ESSAYS, 1, folder)

    @contextmanager
    def start(self, num_trials: int, *words: object, **environment: str) -> Iterator[Running]:
        """A search that runs inside the block, at whose end it is killed if it still runs."""
        self._num_started += 1
        out, err = (self.folder / f"{name}-{self._num_started}.txt" for name in ("out", "err"))
        command = [sys.executable, "-m", "ell_tune.cli", "search", self._space, "--train", self.folder / "train.csv"]
        command += ["--study", self.study_dir, "--trials", num_trials, *self._on_ray, *words]
        with open(out, "wb") as out_file, open(err, "wb") as err_file:
            process = subprocess.Popen(
                list(map(str, command)), stdout=out_file, stderr=err_file, env={**os.environ, **environment}
            )
        try:
            yield Running(process, out, err, self.study_dir)
        finally:
            process.kill()
            process.wait()

    def run(self, num_trials: int, *words: object, **environment: str) -> Ended:
        """A search from its start to its end."""
        with self.start(num_trials, *words, **environment) as search:
            return search.ended()

    def record(self) -> StudyRecord:
        return open_study(self.study_dir).record()


def journal_bytes(study_dir: Path) -> bytes:
    """A study's journal as it lies there; empty while there is no study."""
    try:
        return (study_dir / "journal.log").read_bytes()
    except FileNotFoundError:
        return b""


def journal(study_dir: Path) -> list[dict[str, Any]]:
    """The whole lines of a study's journal."""
    return [json.loads(line) for line in journal_bytes(study_dir).splitlines(keepends=True) if line.endswith(b"\n")]


def num_scores(study_dir: Path, trial_number: int | None = None) -> int:
    """The evaluations in a study's journal, of one trial or of all."""
    lines = [line for line in journal(study_dir) if line["op_code"] == SCORED]
    return sum(trial_number in (None, line["trial_id"]) for line in lines)


def decisions(record: StudyRecord) -> list[tuple[Any, ...]]:
    """All that a search decided and was told, but for times."""
    return [
        (t.number, t.state, t.reason, t.score, dict(t.curve), dict(t.config), dict(t.params)) for t in record.trials
    ]


def ended_trials(record: StudyRecord) -> dict[int, TrialRecord]:
    """The trials that have ended, whole, by number."""
    return {trial.number: trial for trial in record.trials if trial.state != TrialState.RUNNING}


def check_nothing_counted_twice(study_dir: Path, num_trials: int) -> None:
    """Every trial asked for has ended, and once; every evaluation is in the journal once, and none after the end."""
    lines = journal(study_dir)
    scores = Counter((line["trial_id"], line["step"]) for line in lines if line["op_code"] == SCORED)
    assert {key: times for key, times in scores.items() if times > 1} == {}
    ends = [line["trial_id"] for line in lines if line["op_code"] == TOLD and line["state"] in ENDS.values()]
    assert sorted(ends) == list(range(num_trials))
    over = set()
    for line in lines:
        if line["op_code"] == SCORED:
            assert line["trial_id"] not in over
        elif line["op_code"] == TOLD and line["state"] in ENDS.values():
            over.add(line["trial_id"])
    trials = open_study(study_dir).record().trials
    assert [trial.number for trial in trials] == list(range(num_trials))
    for trial in trials:
        assert list(trial.curve) == list(range(1, trial.steps + 1))


def check_kept(before: StudyRecord, after: StudyRecord) -> None:
    """What `before` knew of its trials, `after` knows: the ended ones as they were, the others no less."""
    kept = {trial.number: trial for trial in after.trials}
    for trial in before.trials:
        now = kept[trial.number]
        if trial.state != TrialState.RUNNING:
            assert now == trial
        assert now.config == trial.config and now.started == trial.started and now.seconds >= trial.seconds
        assert dict(trial.curve).items() <= dict(now.curve).items()


def checkpoints(study_dir: Path) -> list[str]:
    """The saved states that lie in the study, as TRIAL/CHECKPOINT."""
    return sorted(f"{path.parent.name}/{path.name}" for path in (study_dir / "trials").glob("*/checkpoint-*"))


def processes_below(pid: int) -> dict[int, str]:
    """The living processes that descend from one, by pid: the title of each, as `ps` shows it."""
    parents, titles = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text().rpartition(")")[2].split()
            title = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has just ended
        if stat[0] != "Z":
            parents[int(folder.name)], titles[int(folder.name)] = int(stat[1]), title
    below = {pid}
    while more := {child for child, parent in parents.items() if parent in below} - below:
        below |= more
    return {child: titles[child] for child in below - {pid}}
