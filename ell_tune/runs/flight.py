"""A trial under way: what it has reported, and the writing of that into the journal."""

from collections.abc import Mapping
from math import inf, isfinite
from typing import Any

import optuna
from optuna.study._constrained_optimization import _CONSTRAINTS_KEY

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

    def stopped_at(self, step: int) -> str | None:
        """Why the scheduler stopped it at an evaluation, if it did: asked again later, it may say otherwise."""
        stopped_step, reason = self.usage.get("stopped", (0, None))
        return reason if step == stopped_step else None

    @property
    def is_done(self) -> bool:
        """Whether its last evaluation is in the journal."""
        return bool(self.curve) and max(self.curve) == self.num_steps

    def take_in(self, progress: Progress, seconds: float, devices: float, search_seconds: float) -> None:
        """Takes in a new evaluation, which is in the journal only after `write`."""
        usage = self.usage
        usage["num_steps"] = progress.num_steps
        for name in MEASURES:
            if name in progress.metrics:
                usage[name] = max(usage.get(name, 0.0), progress.metrics[name])
        usage["step_seconds"] = {**usage.get("step_seconds", {}), str(progress.step): seconds}
        self._add_cost(seconds, devices, search_seconds)
        self.curve[progress.step] = progress.score if isfinite(progress.score) else inf

    def write(self, step: int, stopped: str | None) -> None:
        """Writes the evaluation of a step, and why the scheduler stops it there. What it cost comes first."""
        self.usage.pop("stopped", None)  # of an evaluation that was not written any more, and is decided anew
        if stopped is not None:
            self.usage["stopped"] = step, stopped
        self._write_usage()
        self.trial.report(self.curve[step], step)

    def note_cost(self, seconds: float, devices: float, search_seconds: float) -> None:
        """Writes what training has cost that was done once more."""
        self._add_cost(seconds, devices, search_seconds)
        self._write_usage()

    def _add_cost(self, seconds: float, devices: float, search_seconds: float) -> None:
        usage = self.usage
        usage["seconds"] = self.seconds + seconds
        usage["device_seconds"] = usage.get("device_seconds", 0.0) + seconds * devices
        usage["search_seconds"] = search_seconds

    def _write_usage(self) -> None:
        self.trial.set_user_attr(USAGE, dict(self.usage))

    def note_goes_on(self) -> None:
        """Takes back what was written of an end that was not told, or of a bug that is mended now."""
        for name in (OUTCOME, REASON, BROKEN):
            if self.trial.user_attrs.get(name) is not None:
                self.trial.set_user_attr(name, None)

    def note_broken(self) -> None:
        """Writes that it ends because it breaks a constraint, for an edit that loosens it."""
        self.trial.set_user_attr(BROKEN, {})

    def note_end(self, outcome: TrialState, reason: str | None, violations: Mapping[str, float]) -> None:
        """Writes what becomes of it, before Optuna is told, and by how much it breaks each constraint (see there)."""
        noted = self._storage.get_trial(self.trial._trial_id).constraints
        for name, violation in sorted(violations.items()):
            if noted.get(name) != violation:  # Optuna lets none be set twice; but the process may have died right here
                self._storage.set_trial_system_attr(self.trial._trial_id, f"{_CONSTRAINTS_KEY}:{name}", violation)
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
