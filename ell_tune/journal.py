"""The journal of a study: Optuna's, made to stay small and quick over 10,000 trials.

Optuna keeps every trial in memory, and builds each from the journal's lines one by one. As it is, a trial of twenty
parameters takes 25 KB: every line brings its own copy of the names and a distribution of its own, and the place of
every line in the file is remembered for ever.
"""

import sys
from collections.abc import Generator
from functools import lru_cache
from pathlib import Path
from typing import Any

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, _storage

from ell_tune.study_lock import FlockJournalLock


def open_journal(path: Path) -> JournalStorage:
    """The storage of the journal at `path`, with all that it says read; the file is made if it is not there yet."""
    _share_distributions()
    return JournalStorage(_SmallJournal(path))


class _SmallJournal(JournalFileBackend):
    def __init__(self, path: Path) -> None:
        super().__init__(str(path), lock_obj=FlockJournalLock(path))

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        """Lines from a number on; Optuna asks for those that it has not had yet, never for earlier ones."""
        number = log_number_from
        for number, log in enumerate(super().read_logs(log_number_from), start=log_number_from + 1):
            yield _with_shared_names(log)
        self._log_number_offset = {number: self._log_number_offset[number]}


def _with_shared_names(log: dict[str, Any]) -> dict[str, Any]:
    if "param_name" in log:
        log["param_name"] = sys.intern(log["param_name"])
    elif "user_attr" in log:
        log["user_attr"] = {sys.intern(key): value for key, value in log["user_attr"].items()}
    return log


def _share_distributions() -> None:
    """Makes Optuna decode each distribution once. It never changes one, and has no setting for this."""
    if not hasattr(_storage.json_to_distribution, "cache_info"):
        _storage.json_to_distribution = lru_cache(maxsize=4096)(_storage.json_to_distribution)
