"""What a sampler hears of ended trials, as a table and by hand."""

from math import inf
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as Told

from ell_tune.choosing.telling import Extrapolation, StoppedAs, score_and_cost, told
from ell_tune.errors import UserError
from ell_tune.trials.records import TrialState
from ell_tune.trials.trial_attributes import OUTCOME, USAGE


@pytest.mark.parametrize(
    ("state", "pruned", "last_value", "extrapolated"),
    [
        (TrialState.COMPLETE, (Told.COMPLETE, 0.5), (Told.COMPLETE, 0.5), (Told.COMPLETE, 0.5)),
        (TrialState.STOPPED, (Told.PRUNED, None), (Told.COMPLETE, 0.5), (Told.COMPLETE, 0.45)),
        (TrialState.FAILED, (Told.PRUNED, None), (Told.COMPLETE, inf), (Told.COMPLETE, inf)),
        (TrialState.LOST, (Told.FAIL, None), (Told.FAIL, None), (Told.FAIL, None)),
    ],
)
def test_what_is_told_of_each_state_in_each_mode(
    state: TrialState,
    pruned: tuple[Told, float | None],
    last_value: tuple[Told, float | None],
    extrapolated: tuple[Told, float | None],
) -> None:
    modes: dict[StoppedAs, tuple[Told, float | None]] = {
        "pruned": pruned,
        "last_value": last_value,
        "extrapolated": extrapolated,
    }
    for mode, expected in modes.items():
        assert told(mode, state, 0.5, 0.45) == expected


def test_a_final_score_is_estimated_by_the_median_gain_of_complete_trials_from_the_same_step() -> None:
    extrapolation = Extrapolation()
    extrapolation.add_complete({1: 0.9, 2: 0.7, 3: 0.6, 4: 0.6})  # gains .3, .1, 0, 0
    extrapolation.add_complete({1: 0.8, 2: 0.8, 3: 0.6, 4: 0.4})  # gains .4, .4, .2, 0
    extrapolation.add_complete({1: 0.7, 2: 0.5, 3: 0.5, 4: 0.5})  # gains .2, 0, 0, 0
    estimates = [extrapolation.final_score(1.0, step, 4) for step in (1, 2, 3, 4)]
    assert estimates == pytest.approx([0.7, 0.9, 1.0, 1.0])


def test_gains_count_from_the_best_score_so_far() -> None:
    extrapolation = Extrapolation()
    extrapolation.add_complete({1: 0.6, 2: 0.9, 3: 0.55, 4: 0.7})  # best so far: .6, .6, .55, .55
    assert [extrapolation.final_score(1.0, step, 4) for step in (1, 2, 3, 4)] == pytest.approx([0.95, 0.95, 1.0, 1.0])


def test_steps_of_other_schedules_meet_at_the_same_share() -> None:
    extrapolation = Extrapolation()
    extrapolation.add_complete({1: 0.8, 2: 0.6})
    assert extrapolation.final_score(1.0, 4, 8) == pytest.approx(0.8)
    assert extrapolation.final_score(1.0, 3, 8) == 1.0  # nothing is known of that point


def test_without_complete_trials_the_score_so_far_is_the_estimate() -> None:
    assert Extrapolation().final_score(0.7, 2, 4) == 0.7


def test_the_order_in_which_trials_complete_does_not_matter() -> None:
    curves = [{1: 0.9, 2: 0.5}, {1: 0.7, 2: 0.6}, {1: 0.65, 2: 0.6}, {1: 0.8, 2: 0.6}]
    one, other = Extrapolation(), Extrapolation()
    for curve in curves:
        one.add_complete(curve)
    for curve in reversed(curves):
        other.add_complete(curve)
    assert one.final_score(1.0, 1, 2) == other.final_score(1.0, 1, 2)


def ended(state: Told, value: float | None = None, outcome: TrialState | None = None, **usage: float) -> FrozenTrial:
    """A trial that scored .6 and then .7, of four evaluations."""
    step_seconds = {"1": 4.0, "2": 6.0}
    attributes: dict[str, Any] = {USAGE: {"num_steps": 4, "seconds": 10.0, "step_seconds": step_seconds, **usage}}
    attributes |= {} if outcome is None else {OUTCOME: outcome}
    return optuna.trial.create_trial(
        state=state, value=value, intermediate_values={1: 0.6, 2: 0.7}, user_attrs=attributes
    )


def test_nsga2_hears_of_what_was_told_and_of_what_was_pruned_with_its_score_so_far() -> None:
    assert score_and_cost(ended(Told.COMPLETE, 0.5, num_parameters=7.0), "num_parameters") == (0.5, 7.0)
    assert score_and_cost(ended(Told.PRUNED, num_parameters=7.0), "num_parameters") == (0.6, 7.0)
    assert score_and_cost(ended(Told.PRUNED), "seconds") == (0.6, 20.0)  # of the whole schedule


def test_nsga2_hears_nothing_of_what_failed_got_lost_or_is_under_way() -> None:
    for trial in (
        ended(Told.PRUNED, outcome=TrialState.FAILED),
        ended(Told.COMPLETE, inf, outcome=TrialState.FAILED),
        ended(Told.FAIL, outcome=TrialState.LOST),
        ended(Told.RUNNING),
        optuna.trial.create_trial(state=Told.PRUNED, user_attrs={OUTCOME: TrialState.FAILED}),
    ):
        assert score_and_cost(trial, "seconds") is None


def test_nsga2_hears_of_a_broken_constraint() -> None:
    for state, violation, heard in (
        (Told.PRUNED, 0.5, (inf, inf)),
        (Told.PRUNED, 0.0, None),
        (Told.FAIL, 0.5, None),
    ):
        trial = ended(state, outcome=TrialState.FAILED)
        trial.set_constraint("peak_memory_mib", violation)
        assert score_and_cost(trial, "seconds") == heard


def test_a_cost_that_the_trainable_does_not_measure_is_the_users_error() -> None:
    trial = ended(Told.COMPLETE, 0.5, num_parameters=7.0)
    trial.number = 3
    with pytest.raises(UserError) as error:
        score_and_cost(trial, "seconds_per_essay")
    assert str(error.value) == (
        "study.sampler.cost: the trainable must measure the cost that NSGA-II is to keep low, but trial 3 has no "
        "seconds_per_essay. Take a cost that it measures (num_parameters, seconds)."
    )
