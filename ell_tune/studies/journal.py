"""The journal of a study: Optuna's, made to stay whole through any crash, and small and quick over 10,000 trials.

Optuna keeps every trial in memory, and builds each from the journal's lines one by one. As it is, a trial of twenty
parameters takes 25 KB: every line brings its own copy of the names and a distribution of its own, and the place of
every line in the file is remembered for ever. And each suggestion looks through all trials for those that wait.
"""

import fcntl
import os
import sys
from collections import Counter
from collections.abc import Container, Generator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock, _storage
from optuna.storages.journal._file import get_lock_file
from optuna.trial import FrozenTrial, TrialState

from ell_tune.errors import UserError
from ell_tune.files.disk import needs_to_write


def open_journal(path: Path) -> JournalStorage:
    """The storage of the journal at `path`, with all that it says read; the file is made if it is not there yet.

    Raises:
        UserError: it is damaged.
    """
    _share_distributions()
    try:
        return _Storage(_Journal(path))
    except (KeyError, AttributeError, AssertionError, TypeError, IndexError, ValueError) as error:
        # Optuna trusts each line to be one of its own that follows from those before.
        raise damaged(path, f"its lines do not follow from each other ({type(error).__name__}: {error})") from None


def damaged(path: Path, how: str) -> UserError:
    """What to tell of a file of a study that something else than ell-tune has changed."""
    return UserError(
        f"{path}: a study is read from the files that its search wrote, and this one is damaged: {how}. Put it back "
        f"from a copy, or search into another --study."
    )


class _Journal(JournalFileBackend):
    def __init__(self, path: Path) -> None:
        super().__init__(str(path), lock_obj=FlockJournalLock(path))
        self._path = path

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Appends all of the lines or none: the next line must not join a torn one.

        Raises:
            UserError: the disk is full or cannot be written.
        """
        with needs_to_write(self._path.parent):
            try:
                super().append_logs(logs)
            except OSError:
                drop_torn_line(self._path)
                raise

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        """Lines from a number on; Optuna asks for those that it has not had yet, never for earlier ones."""
        try:
            yield from map(_with_shared_names, super().read_logs(log_number_from))
        except ValueError as error:
            raise damaged(self._path, f"not every line is JSON ({error})") from None
        last = max(self._log_number_offset)
        self._log_number_offset = {last: self._log_number_offset[last]}


def _with_shared_names(log: dict[str, Any]) -> dict[str, Any]:
    """The line, with texts that other lines have too (names of parameters and fields, choices) kept once."""
    for key in log.keys() & {"param_name", "user_attr", "user_attrs"}:
        log[key] = _shared(log[key])
    return log


def _shared(value: Any) -> Any:
    match value:
        case str():
            return sys.intern(value)
        case dict():
            return {sys.intern(key): _shared(item) for key, item in value.items()}
        case list():
            return [_shared(item) for item in value]
    return value


def _share_distributions() -> None:
    """Makes Optuna decode each distribution once. It never changes one, and has no setting for this."""
    if not hasattr(_storage.json_to_distribution, "cache_info"):
        _storage.json_to_distribution = lru_cache(maxsize=4096)(_storage.json_to_distribution)


class _Storage(JournalStorage):
    """Optuna's, with a time for each suggestion and a size of each ended trial that no other trial adds to."""

    def __init__(self, journal: _Journal) -> None:
        self._num_past_queue = Counter[int]()  # study → of its first trials, how many wait no longer, and never will
        self._shared_distributions: dict[frozenset[tuple[str, int]], dict[str, BaseDistribution]] = {}
        super().__init__(journal)
        for trial in self._replay_result._trials.values():
            if trial.state.is_finished():
                self._share_distributions(trial)

    def get_n_trials(self, study_id: int, state: tuple[TrialState, ...] | TrialState | None = None) -> int:
        if state is not None:
            return super().get_n_trials(study_id, state)
        with self._thread_lock:
            self._sync_with_backend()
            return len(self._replay_result._study_id_to_trial_ids[study_id])

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        if deepcopy or states != (TrialState.WAITING,):
            return super().get_all_trials(study_id, deepcopy, states)
        with self._thread_lock:
            self._sync_with_backend()
            replayed, num_past = self._replay_result, self._num_past_queue[study_id]
            trial_ids = replayed._study_id_to_trial_ids[study_id]
            trials = [replayed._trials[trial_id] for trial_id in trial_ids[num_past:]]
            waiting = [trial for trial in trials if trial.state == TrialState.WAITING]
            self._num_past_queue[study_id] = waiting[0].number if waiting else len(trial_ids)
            return waiting

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        is_set = super().set_trial_state_values(trial_id, state, values)
        if state.is_finished():
            self._share_distributions(self._replay_result._trials[trial_id])
        return is_set

    def _share_distributions(self, trial: FrozenTrial) -> None:
        """Lets ended trials of the same parameters have one dict of distributions. Of others Optuna changes it."""
        key = frozenset((name, id(distribution)) for name, distribution in trial.distributions.items())
        trial.distributions = self._shared_distributions.setdefault(key, trial.distributions)


class FlockJournalLock(JournalFileOpenLock):
    """Optuna's journal lock as an `flock`: unlike its lock files, it needs no grace period after a `kill -9`."""

    def __init__(self, journal_path: Path) -> None:
        super().__init__(str(journal_path))
        self._path = journal_path.with_suffix(".lock")
        self._descriptor = -1

    def acquire(self) -> bool:
        self._descriptor = os.open(self._path, os.O_CREAT | os.O_RDWR)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        return True

    def release(self) -> None:
        os.close(self._descriptor)


def drop_torn_line(journal_path: Path) -> None:
    """Removes a last line that a killed process left unfinished, so that the next one does not join it.

    Whoever writes a line holds the journal's lock, so no line that is being written is taken for one left unfinished.
    """
    with get_lock_file(FlockJournalLock(journal_path)), open(journal_path, "rb+") as file:
        end = file.seek(0, os.SEEK_END)
        position = end
        while position > 0:
            position -= 1
            file.seek(position)
            if file.read(1) == b"\n":
                position += 1
                break
        if position < end:
            file.truncate(position)
