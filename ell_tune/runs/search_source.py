"""The `JobSource` of a search: sampler, scheduler and budget choose the jobs, and the study records every event.

All that it knows is in the study, or is rebuilt from it here; so to start, to resume and to add trials are the same.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from copy import copy
from math import inf, isfinite
from typing import Any

import optuna
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as Told

from ell_tune.choosing.constraints import broken, violations
from ell_tune.choosing.samplers import RandomConfig, make_sampler, sampled_cost
from ell_tune.choosing.schedulers import make_scheduler
from ell_tune.choosing.search_spec import SearchSpec
from ell_tune.choosing.telling import Extrapolation, told
from ell_tune.dotted import differences
from ell_tune.errors import UserError
from ell_tune.files.artifacts import RESULT_ITEM, delete_checkpoints
from ell_tune.running.jobs import EndKind, Job, JobEnd
from ell_tune.runs.budget import Budget, Meter
from ell_tune.runs.disk_budget import KeptWeights
from ell_tune.runs.flight import Flight
from ell_tune.runs.tried_configs import TriedConfigs
from ell_tune.studies.study import Study, job_name, was_started
from ell_tune.tracking import Tracker
from ell_tune.trainable import Progress
from ell_tune.trials.costs import Fronts, cost_so_far
from ell_tune.trials.progress import Display
from ell_tune.trials.records import TrialRecord, TrialState
from ell_tune.trials.trial_attributes import CONFIG, DUPLICATE_OF, MISFIT, OUTCOME, USAGE

# Suggestions in a row that were tried before: from here on random draws are taken, and then the space counts as tried.
_MAX_REPEATS, _MAX_RANDOM_REPEATS = 10, 100


class SearchSource:
    """Chooses a search's jobs."""

    def __init__(
        self,
        study: Study,
        spec: SearchSpec,
        budget: Budget,
        devices_per_trial: float,
        display: Display,
        tracker: Tracker,
    ) -> None:
        """`devices_per_trial`: its GPUs, or its CPUs where it has none."""
        self._study = study
        self._optuna = study.optuna_study
        self._spec = spec
        self._budget = budget
        self._devices_per_trial = devices_per_trial
        self._display = display
        self._tracker = tracker
        self._limits = spec.study.constraints.limits
        self._scheduler = make_scheduler(spec.study.scheduler, spec.study.seed)
        self._cost = sampled_cost(spec.study.sampler)
        self._fronts = Fronts()
        self._extrapolation = Extrapolation()
        self.meter = Meter(budget)
        self._flights: dict[str, Flight] = {}  # by job name
        self._interrupted: deque[FrozenTrial] = deque()
        self._tried = TriedConfigs(spec.space.num_configs)
        self._num_started = 0
        self._exhausted: str | None = None  # why no new config was found
        trials = self._optuna.get_trials(deepcopy=False)
        for frozen in trials:
            self._take_in(frozen)
        self._clear_after_last_end(trials)
        self._weights: KeptWeights | None = None
        if budget.disk_bytes is not None:
            self._weights = KeptWeights(study.artifacts, budget.disk_bytes, study.record().trials)

    def _clear_after_last_end(self, trials: Sequence[FrozenTrial]) -> None:
        """Removes the checkpoints of the trial that ended last: the process may have died when it had told its end."""
        ended = [(trial.datetime_complete, trial.number) for trial in trials if trial.datetime_complete is not None]
        if ended:
            _, last_number = max(ended)
            delete_checkpoints(self._study.artifact_folder(last_number))

    def _take_in(self, frozen: FrozenTrial) -> None:
        """Counts a trial of the study as it is."""
        attributes = frozen.user_attrs
        is_running = frozen.state == Told.RUNNING
        self._num_started += is_running or was_started(frozen)
        if is_running:  # be it a duplicate whose process died before it was ended
            self._interrupted.append(frozen)
        if not was_started(frozen):
            return
        self._tried.take_in(frozen)
        if USAGE in attributes:
            usage = attributes[USAGE]
            self.meter.take_in(usage["search_seconds"], usage["device_seconds"])
        if MISFIT in attributes:
            return  # compares with none of this space
        if USAGE in attributes:
            best = inf
            for step, score in sorted(frozen.intermediate_values.items()):
                best = min(best, score)
                self._stops(frozen.number, step, best, attributes[USAGE], frozen.intermediate_values)
        # One that was killed between its outcome and its end in Optuna completes once more.
        if attributes.get(OUTCOME) == TrialState.COMPLETE and frozen.state != Told.RUNNING:
            self._take_in_complete(frozen.intermediate_values)

    def _take_in_complete(self, curve: dict[int, float]) -> None:
        self._extrapolation.add_complete(curve)
        self.meter.note_complete(min(curve.values()))

    def why_ended(self) -> str | None:
        """Why the search ends before all of its trials have ended; None if it does not."""
        return self._exhausted or self.meter.spent()

    def next_job(self) -> Job | None:
        if self.why_ended() is not None:
            return None
        if self._interrupted:
            return self._start(self._going_on(self._interrupted.popleft()), is_new=False) or self.next_job()
        if self._num_started >= self._budget.num_trials:
            return None
        return self._next_new()

    def _going_on(self, frozen: FrozenTrial) -> optuna.Trial:
        """An interrupted trial, as it was when it was asked for if the process died before all was drawn."""
        self._set_sampler(frozen.number)
        trial = optuna.Trial(self._optuna, frozen._trial_id)
        if CONFIG not in frozen.user_attrs:
            # Some draws may be in the journal. What would have come next depends on them, so all are made once more.
            trial._cached_frozen_trial = copy(frozen)
            trial._cached_frozen_trial.params, trial._cached_frozen_trial.distributions = {}, {}
        return trial

    def _next_new(self) -> Job | None:
        if self._tried.are_all:
            self._exhausted = f"the space is used up: each of its {self._spec.space.num_configs:.0f} configs was tried"
            return None
        for attempt in range(_MAX_REPEATS + _MAX_RANDOM_REPEATS):
            number = self._study.storage.get_n_trials(self._optuna._study_id)
            self._set_sampler(number, is_random=attempt >= _MAX_REPEATS)
            self._num_started += 1
            job = self._start(self._optuna.ask(), is_new=True)
            if job is not None:
                return job
        self._exhausted = f"the space is used up: of {_MAX_RANDOM_REPEATS} more suggestions none was new"
        return None

    def _set_sampler(self, trial_number: int, is_random: bool = False) -> None:
        study = self._spec.study
        self._optuna.sampler = make_sampler(RandomConfig() if is_random else study.sampler, study.seed, trial_number)

    def _start(self, trial: optuna.Trial, is_new: bool) -> Job | None:
        """The job of a trial; None where another trial has the same config, which ends it."""
        if MISFIT in trial.user_attrs:
            config = self._study.config(trial)
        else:
            config = self._spec.space.suggest(trial)
        changes = differences(self._study.base, config)
        twin = self._tried.trial_of(changes, trial.number)
        if twin != trial.number:
            trial.set_user_attr(DUPLICATE_OF, twin)
            self._optuna.tell(trial, state=Told.FAIL)  # which samplers ignore
            self._num_started -= 1
            return None
        if CONFIG not in trial.user_attrs:
            trial.set_user_attr(CONFIG, changes)
        flight = Flight(trial)
        flight.note_goes_on()
        # What the journal knows nothing of is later than it: it was put back from an older copy.
        folder = self._study.artifact_folder(trial.number)
        if is_new:
            delete_checkpoints(folder)
        if not flight.is_done:
            folder.delete(RESULT_ITEM)
        job = Job(job_name(trial.number), config, self._spec.study.fold, self._spec.study.seed)
        self._flights[job.name] = flight
        self._tracker.trial_started(trial.number, config)
        self._show(flight)
        return job

    def on_progress(self, job: Job, progress: Progress, seconds: float) -> bool:
        flight = self._flights[job.name]
        if progress.step not in flight.curve:
            stopped = self._note(flight, progress, seconds)
        else:  # trained once more, from an older state or from nothing; what was decided there stays
            flight.note_cost(seconds, self._devices_per_trial, self.meter.seconds)
            stopped = flight.stopped_at(progress.step)
        self.meter.add_device_seconds(seconds * self._devices_per_trial)
        end = self._end_at(flight, progress, stopped)
        if end is not None:
            self._tell(job, *end)
            return False
        # One whose schedule is done has nothing left to spend a budget on, and completes.
        return progress.step == progress.num_steps or self.meter.spent() is None

    def _note(self, flight: Flight, progress: Progress, seconds: float) -> str | None:
        """Takes note of a new evaluation; why the scheduler stops the trial there, if it does."""
        flight.take_in(progress, seconds, self._devices_per_trial, self.meter.seconds)
        stopped = None
        if not flight.is_misfit:
            # Whatever becomes of the trial, it enters the rung, as it does when the study is read again.
            best = flight.best_until(progress.step)
            stopped = self._stops(flight.number, progress.step, best, flight.usage, flight.curve)
        flight.write(progress.step, stopped)
        if self._weights is not None:
            self._weights.changed(flight.number)
        self._tracker.trial_reported(flight.number, progress.step, {"score": progress.score, **progress.metrics})
        self._show(flight)
        return stopped

    def _end_at(self, flight: Flight, progress: Progress, stopped: str | None) -> tuple[TrialState, str] | None:
        """What becomes of a trial at an evaluation, and why, if it ends there before its schedule does."""
        if not isfinite(progress.score):
            return TrialState.FAILED, f"diverged: the score of evaluation {progress.step} is {progress.score}"
        broken_limit = self._broken_limit(flight)
        if broken_limit is not None:
            return TrialState.FAILED, broken_limit
        if progress.step == progress.num_steps:
            self._check_measured(flight)
            return None
        if stopped is not None:
            return TrialState.STOPPED, stopped
        if flight.seconds >= self._budget.trial_seconds:
            return TrialState.STOPPED, f"a trial has {self._budget.trial_seconds:.0f} s, which are used up"
        return None

    def _broken_limit(self, flight: Flight) -> str | None:
        """Why a trial ends that breaks a constraint, which is noted; None if it keeps all."""
        broken_limit = broken(self._limits, flight.measures)
        if broken_limit is not None:
            flight.note_broken()
        return broken_limit

    def _stops(
        self, number: int, step: int, best: float, usage: Mapping[str, Any], curve: Mapping[int, float]
    ) -> str | None:
        """Compares a trial at a step, and says why it ends there, if it does. The front of score and cost goes on."""
        num_steps = usage["num_steps"]
        stopped = self._scheduler.stops(number, step, num_steps, best)
        if self._cost is not None:
            self._fronts.enter(number, step, num_steps, best, cost_so_far(self._cost, usage, curve))
            if stopped is not None and self._fronts.has(number, step, num_steps):
                return None
        return stopped

    def _check_measured(self, flight: Flight) -> None:
        """Refuses a limit on what a whole trial has not measured: it would be kept by every config."""
        unmeasured = sorted(self._limits.keys() - flight.measures.keys())
        if unmeasured:
            raise UserError(
                f"study.constraints.{unmeasured[0]}: a constraint needs a trainable that measures it, but trial "
                f"{flight.number} came to its end without. Leave the constraint out, or let "
                f"{self._spec.trainable_name} report {unmeasured[0]} (of a process without a GPU only Linux tells the "
                f"peak memory)."
            )

    def on_end(self, job: Job, end: JobEnd) -> None:
        match end.kind:
            case EndKind.COMPLETE:
                self._complete(job)
            case EndKind.BAD_CONFIG:
                self._fail(job, str(end.message))
            case EndKind.LOST:
                self._tried.forget(differences(self._study.base, job.config))
                self._tell(job, TrialState.LOST, end.message)
            case EndKind.BUG:  # the run ends, and the trial goes on once the bug is mended
                self._flights.pop(job.name).note_reason(f"broke off: {end.message}")

    def _complete(self, job: Job) -> None:
        flight = self._flights[job.name]
        broken_limit = self._broken_limit(flight)
        if broken_limit is not None:  # an edit tightened it after the last evaluation, and before this was told
            self._tell(job, TrialState.FAILED, broken_limit)
            return
        if not flight.is_misfit:
            self._take_in_complete(flight.curve)
        self._tell(job, TrialState.COMPLETE)

    def _fail(self, job: Job, reason: str) -> None:
        flight = self._flights[job.name]
        self._tell(job, TrialState.FAILED, reason)
        if job.config == self._spec.space.base and not flight.curve:
            raise UserError(
                f"a search begins with the base config, so that one has to be trainable, but it failed before its "
                f"first evaluation: {reason.rstrip('.')}. Correct `base:` in the space file, or the `default:` of a "
                f"searched field."
            )

    def _tell(self, job: Job, outcome: TrialState, reason: str | None = None) -> None:
        flight = self._flights.pop(job.name)
        flight.note_end(outcome, reason, violations(self._limits, flight.measures))
        score, step = min(flight.curve.values(), default=None), max(flight.curve, default=0)
        estimate = inf if score is None else self._extrapolation.final_score(score, step, flight.num_steps)
        state, value = told(self._spec.study.tells_stopped_as, outcome, score, estimate)
        if flight.is_misfit:
            flight.note_misfit_end(state, value)
            state, value = Told.FAIL, None
        self._optuna.tell(flight.trial, value, state=state)
        delete_checkpoints(self._study.artifact_folder(flight.number))
        ended = self._show(flight)
        if self._weights is not None:
            self._weights.ended(ended)
        self._tracker.trial_ended(ended.number, ended.state, ended.score)

    def _show(self, flight: Flight) -> TrialRecord:
        record = self._study.trial(flight.trial._trial_id)
        self._display.changed(record)
        return record

    def rungs(self, num_steps: int) -> tuple[int, ...]:
        """The steps at which trials of so many evaluations are compared."""
        return self._scheduler.rungs(num_steps) if num_steps else ()
