"""Which configs a search has tried: none is run twice, and a finite space is used up at last."""

from collections.abc import Mapping
from typing import Any

from optuna.trial import FrozenTrial

from ell_tune.studies.study import config_key
from ell_tune.trials.records import TrialState
from ell_tune.trials.trial_attributes import CONFIG, MISFIT, OUTCOME


class TriedConfigs:
    """The configs of all trials but the lost ones, which say nothing of theirs.

    Configs are given by their differences from the study's base config.
    """

    def __init__(self, num_configs: float) -> None:
        """`num_configs`: of the space; infinite where a real number is searched."""
        self._num_configs = num_configs
        self._number_of: dict[bytes, int] = {}  # key of a config → the first trial that has it
        self._misfits: set[bytes] = set()  # those outside of the space by now

    def take_in(self, trial: FrozenTrial) -> None:
        """Takes in a trial of the study that was started."""
        attributes = trial.user_attrs
        is_lost = trial.state.is_finished() and attributes.get(OUTCOME) == TrialState.LOST
        if CONFIG in attributes and not is_lost:
            key = config_key(attributes[CONFIG])
            self._number_of.setdefault(key, trial.number)
            if MISFIT in attributes:
                self._misfits.add(key)

    def trial_of(self, changes: Mapping[str, Any], trial_number: int) -> int:
        """The trial that has a config: this one from now on, unless another had it before."""
        return self._number_of.setdefault(config_key(changes), trial_number)

    def forget(self, changes: Mapping[str, Any]) -> None:
        """Lets a config be tried again."""
        key = config_key(changes)
        del self._number_of[key]
        self._misfits.discard(key)

    @property
    def are_all(self) -> bool:
        """Whether the space has no other."""
        return len(self._number_of) - len(self._misfits) == self._num_configs
