"""Shows trials in an experiment tracker, which may hang, fail or be unreachable without a trial noticing.

The tracker's library runs in a child process. A trial's numbers go into a bounded queue, a thread moves them
from there into a pipe, and the child reads the pipe: nothing that a search calls ever waits for the tracker.
"""

import hashlib
import logging
import multiprocessing
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from pydantic import Field

from ell_tune.config import StrictConfig
from ell_tune.errors import UserError

_logger = logging.getLogger(__name__)

_QUEUE_EVENTS = 10_000
_CLOSE_SECONDS = 10.0
_PROBE_SECONDS = 60.0


class TrackingConfig(StrictConfig):
    """Weights & Biases: one run per trial, with its config and its numbers and nothing else."""

    name: Literal["wandb"] = Field(description="The tracker.")
    project: str = Field(default="ell-tune", min_length=1, description="The W&B project of the runs.")
    entity: str | None = Field(default=None, description="The W&B team or user; W&B's own default if unset.")
    mode: Literal["offline", "online"] = Field(
        default="offline",
        description="`offline` writes files for `wandb sync`; `online` sends them as they come.",
    )


class Tracker(Protocol):
    """Is told what happens to trials. No method waits, and none fails."""

    def trial_started(self, number: int, config: Mapping[str, Any]) -> None:
        """Trial `number` starts, or goes on after an interruption, with this resolved config."""

    def trial_reported(self, number: int, step: int, metrics: Mapping[str, float]) -> None:
        """Evaluation `step` (1 … num_steps) of a started trial."""

    def trial_ended(self, number: int, state: str, score: float | None) -> None:
        """A started trial ended in this `TrialState` with its best score, if it has one."""

    def close(self) -> None:
        """The search is over: lets the tracker write what it still has, for some seconds at most."""


class NullTracker:
    """No tracker."""

    def trial_started(self, number: int, config: Mapping[str, Any]) -> None: ...

    def trial_reported(self, number: int, step: int, metrics: Mapping[str, float]) -> None: ...

    def trial_ended(self, number: int, state: str, score: float | None) -> None: ...

    def close(self) -> None: ...


def make_tracker(config: TrackingConfig | None, study_name: str, tracking_dir: Path) -> Tracker:
    """The tracker that a study's YAML asks for; its files go under `tracking_dir`.

    Raises:
        UserError: W&B cannot be imported, or `mode: online` without a W&B login.
    """
    if config is None:
        return NullTracker()
    _check_wandb_works(config.mode)
    tracking_dir.mkdir(parents=True, exist_ok=True)
    return ChildTracker(_run_wandb, config, study_name, tracking_dir)


def _check_wandb_works(mode: str) -> None:
    # In a process of its own, so that this one neither imports wandb nor hangs in it. It looks for credentials without
    # a word to the server: one that cannot be reached must not keep a search from its start.
    probe = "import wandb" if mode == "offline" else "import wandb; wandb.login(verify=False)"
    try:
        result = subprocess.run(
            [sys.executable, "-c", probe],
            stdin=subprocess.DEVNULL,
            env={**os.environ, "WANDB_SILENT": "true"},
            capture_output=True,
            text=True,
            timeout=_PROBE_SECONDS,
        )
    except subprocess.TimeoutExpired:
        problem = f"no answer within {_PROBE_SECONDS:.0f} seconds"
    else:
        if result.returncode == 0:
            return
        problem = (result.stderr.strip().splitlines() or [f"exit code {result.returncode}"])[-1]
    raise UserError(
        f"tracking: `name: wandb` with `mode: {mode}` needs a W&B library that can be imported"
        f"{'' if mode == 'offline' else ' and a login'}, but `{probe}` failed: {problem}. Install it with "
        f"`pip install wandb`, log in with `wandb login`, choose `mode: offline`, or leave `tracking` out."
    )


class _Started(NamedTuple):
    number: int
    config: dict[str, Any]


class _Reported(NamedTuple):
    number: int
    step: int
    metrics: dict[str, float]


class _Ended(NamedTuple):
    number: int
    state: str
    score: float | None


_Event = _Started | _Reported | _Ended


class ChildTracker:
    """A tracker whose events `target(events, *args)` receives in a child process.

    `events` is a pipe's reading end; it raises EOFError when the search closed the tracker, or died.
    """

    def __init__(
        self,
        target: Callable[..., None],
        *args: Any,
        queue_events: int = _QUEUE_EVENTS,
        close_seconds: float = _CLOSE_SECONDS,
    ) -> None:
        self._queue: queue.Queue[_Event | None] = queue.Queue(maxsize=queue_events)
        self._close_seconds = close_seconds
        self._stopped = False  # full, broken or closed: later events are dropped
        # Spawned, not forked: Ray's threads and locks must not be copied into the child.
        spawn = multiprocessing.get_context("spawn")
        reader, self._writer = spawn.Pipe(duplex=False)
        self._process = spawn.Process(target=target, args=(reader, *args), daemon=True)
        self._process.start()
        reader.close()
        self._feeder = threading.Thread(target=self._feed, daemon=True)
        self._feeder.start()

    def trial_started(self, number: int, config: Mapping[str, Any]) -> None:
        self._put(_Started(number, dict(config)))

    def trial_reported(self, number: int, step: int, metrics: Mapping[str, float]) -> None:
        self._put(_Reported(number, step, dict(metrics)))

    def trial_ended(self, number: int, state: str, score: float | None) -> None:
        self._put(_Ended(number, state, score))

    def close(self) -> None:
        deadline = time.monotonic() + self._close_seconds
        self._stopped = True
        try:
            self._queue.put(None, timeout=self._close_seconds)
        except queue.Full:
            pass  # the child reads no more; killing it ends the feeder's write too
        self._process.join(max(0.0, deadline - time.monotonic()))
        if self._process.is_alive():
            _logger.warning(
                "The tracker did not finish within %g seconds and was ended; the study has every number, "
                "the tracker may lack the last ones.",
                self._close_seconds,
            )
            self._process.kill()
            self._process.join()

    def _put(self, event: _Event) -> None:
        if self._stopped:
            return
        try:
            self._queue.put_nowait(event)
        except queue.Full:
            self._stop(f"it is {self._queue.maxsize} events behind")

    def _feed(self) -> None:
        # The only writer of the pipe. A write blocks while the child hangs, and only this thread with it.
        try:
            while (event := self._queue.get()) is not None:
                self._writer.send(event)
        except OSError:
            self._stop("its process ended")
        self._writer.close()

    def _stop(self, reason: str) -> None:
        if not self._stopped:
            self._stopped = True
            _logger.warning("Tracking stops here: %s. The search goes on, and the study has it all.", reason)


def _run_wandb(events: Connection, config: TrackingConfig, study_name: str, tracking_dir: Path) -> None:
    # Ctrl-C reaches this process too; it ends when the search has closed the pipe.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["WANDB_ERROR_REPORTING"] = "false"
    runs = _WandbRuns(config, study_name, tracking_dir)
    try:
        while True:
            runs.handle(events.recv())
    except EOFError:
        runs.interrupt()
    except Exception as error:  # whatever it is, it ends tracking and nothing else
        print(f"W&B tracking failed: {type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(1)


class _WandbRuns:
    """The open W&B runs of a study, one per trial in flight."""

    def __init__(self, config: TrackingConfig, study_name: str, tracking_dir: Path) -> None:
        import wandb  # here, since only the child may import it

        self._config = config
        self._study_name = study_name
        self._tracking_dir = tracking_dir
        # Names may hold what W&B's ids may not.
        self._study_id = hashlib.sha256(study_name.encode()).hexdigest()[:12]
        self._runs: dict[int, wandb.Run] = {}
        # Config and numbers only: no code, git state, console, packages, machine or host name.
        self._settings = wandb.Settings(
            console="off",
            disable_code=True,
            disable_git=True,
            disable_job_creation=True,
            host="-",
            save_code=False,
            silent=True,
            x_disable_machine_info=True,
            x_disable_meta=True,
            x_disable_stats=True,
            x_save_requirements=False,
        )

    def handle(self, event: _Event) -> None:
        match event:
            case _Started(number, trial_config):
                if number not in self._runs:
                    self._runs[number] = self._open(number, trial_config)
            case _Reported(number, step, metrics):
                self._runs[number].log({**metrics, "step": step})
            case _Ended(number, state, score):
                run = self._runs.pop(number)
                run.summary.update({"state": state, "score": score})
                run.finish()

    def interrupt(self) -> None:
        """Closes the runs of trials that have not ended; a later search goes on in the same runs."""
        for run in self._runs.values():
            run.finish(exit_code=1)

    def _open(self, number: int, trial_config: dict[str, Any]) -> Any:
        import wandb

        run = wandb.init(
            entity=self._config.entity,
            project=self._config.project,
            mode=self._config.mode,
            dir=self._tracking_dir,
            id=f"{self._study_id}-{number}",
            name=f"trial {number}",
            group=self._study_name,
            config=trial_config,
            resume="allow",
            reinit="create_new",
            settings=self._settings,
        )
        # Our own step: W&B's must grow, while a continued trial repeats steps since its last checkpoint.
        run.define_metric("*", step_metric="step")
        return run
