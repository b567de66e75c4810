"""A trial under way: what it has reported, and the writing of that into the journal."""

from collections.abc import Mapping
from math import inf, isfinite
from typing import Any

import optuna

from ell_tune.trainable import MEASURES, Progress
from ell_tune.trials.records import TrialState
from ell_tune.trials.trial_attributes import BROKEN, MISFIT, OUTCOME, REASON, USAGE


class Flight:
    """One trial that has a job."""

    def __init__(self, trial: optuna.Trial) -> None:
        self.trial = trial
        self._storage = trial.study._storage
        frozen = self._storage.get_trial(trial._trial_id)
        self.is_misfit = MISFIT in frozen.user_attrs  # of a space before an edit
        self.curve: dict[int, float] = dict(frozen.intermediate_values)  # step → score; infinite where it diverged
        self.usage: dict[str, Any] = dict(frozen.user_attrs.get(USAGE, {}))  # as in the journal

    @property
    def number(self) -> int:
        return self.trial.number

    @property
    def num_steps(self) -> int:
        return int(self.usage.get("num_steps", 0))

    @property
    def seconds(self) -> float:
        """Training time so far."""
        return float(self.usage.get("seconds", 0.0))

    @property
    def measures(self) -> Mapping[str, float]:
        return {name: self.usage[name] for name in MEASURES if name in self.usage}

    def best_until(self, step: int) -> float:
        """The best score of the evaluations up to a step."""
        return min((score for other, score in self.curve.items() if other <= step), default=inf)

    def note(self, progress: Progress, seconds: float, devices: float, search_seconds: float) -> None:
        """Writes an evaluation. Its cost comes first, so that no score is without it."""
        self.usage["num_steps"] = progress.num_steps
        for name in MEASURES:
            if name in progress.metrics:
                self.usage[name] = max(self.usage.get(name, 0.0), progress.metrics[name])
        self.note_cost(seconds, devices, search_seconds)
        score = progress.score if isfinite(progress.score) else inf
        self.curve[progress.step] = score
        self.trial.report(score, progress.step)

    def note_cost(self, seconds: float, devices: float, search_seconds: float) -> None:
        """Writes what training since the last evaluation has cost."""
        usage = self.usage
        usage["seconds"] = self.seconds + seconds
        usage["device_seconds"] = usage.get("device_seconds", 0.0) + seconds * devices
        usage["search_seconds"] = search_seconds
        self.trial.set_user_attr(USAGE, dict(usage))

    def note_broken(self) -> None:
        """Writes that it ends because it breaks a constraint, for an edit that loosens it."""
        self.trial.set_user_attr(BROKEN, {})

    def note_end(self, outcome: TrialState, reason: str | None, violations: Mapping[str, float]) -> None:
        """Writes what becomes of it, before Optuna is told, and by how much it breaks each constraint (see there)."""
        noted = self._storage.get_trial(self.trial._trial_id).constraints
        for name in sorted(violations.keys() - noted.keys()):  # there are some if the process died right here
            self.trial.set_constraint(name, violations[name])
        self.trial.set_user_attr(OUTCOME, str(outcome))
        self.note_reason(reason)

    def note_misfit_end(self, state: optuna.trial.TrialState, value: float | None) -> None:
        """Writes what Optuna would be told, if it fitted the space."""
        before = self.trial.user_attrs[MISFIT]
        self.trial.set_user_attr(MISFIT, {**before, "state": state.name, "value": value})

    def note_reason(self, reason: str | None) -> None:
        """Writes why it ends."""
        if reason != self.trial.user_attrs.get(REASON):
            self.trial.set_user_attr(REASON, reason)
