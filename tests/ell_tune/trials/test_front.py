"""The front of score and cost, by hand."""

import pytest
from synthetic_study import study, trial

from ell_tune.trials.front import front, trial_cost
from ell_tune.trials.records import TrialState

TRIALS = (
    trial(0, 0.46, measures={"num_parameters": 3e6}),
    trial(1, 0.45, measures={"num_parameters": 9e6}),
    trial(2, 0.46, measures={"num_parameters": 5e6}),  # trial 0 is as good for less
    trial(3, 0.48, measures={"num_parameters": 1e6}),
    trial(4, 0.46, measures={"num_parameters": 3e6}),  # as trial 0
    trial(5, 0.40, state=TrialState.STOPPED, steps=4, measures={"num_parameters": 1e5}),
    trial(6, 0.40, state=TrialState.FAILED, measures={"num_parameters": 1e5}),
    trial(7, 0.40),  # not measured
)


def test_the_front_runs_from_the_cheapest_to_the_best_of_the_complete_trials() -> None:
    assert [member.number for member in front(study(*TRIALS, cost="num_parameters"))] == [3, 0, 4, 1]


def test_without_a_cost_or_its_measure_there_is_no_front() -> None:
    assert front(study(*TRIALS)) == []
    assert front(study(*TRIALS, cost="peak_memory_mib")) == []
    assert front(study(cost="seconds")) == []


def test_a_stopped_trial_is_no_cheaper_for_that() -> None:
    stopped = trial(0, state=TrialState.STOPPED, steps=2, schedule_seconds=30.0)
    assert trial_cost(stopped, "seconds") == pytest.approx(120.0)  # eight steps in all
    assert trial_cost(trial(1, None, state=TrialState.FAILED), "seconds") is None
