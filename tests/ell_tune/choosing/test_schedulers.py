"""What every scheduler keeps, whichever a study names."""

from math import inf
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ell_tune.choosing.asha import AshaConfig
from ell_tune.choosing.hyperband import HyperbandConfig
from ell_tune.choosing.median_stopping import MedianConfig
from ell_tune.choosing.schedulers import Scheduler, make_scheduler
from ell_tune.choosing.search_spec import StudyConfig
from ell_tune.config import StrictConfig, validate

NUM_STEPS = 8
CONFIGS: dict[str, StrictConfig | None] = {
    "off": None,
    "asha": AshaConfig(grace_frac=0.25),
    "asha, one in three": AshaConfig(grace_frac=0.1, reduction_factor=3.0),
    "hyperband": HyperbandConfig(),
    "median": MedianConfig(grace_frac=0.25, min_trials=2),
}
every_scheduler = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())

scores = st.sampled_from([0.3, 0.4, 0.5, 0.6, 0.7, inf])
few_examples = settings(max_examples=25)  # of five schedulers each
Event = tuple[int, int, float]  # trial, step, best score so far


@st.composite
def searches(draw: st.DrawFn) -> list[Event]:
    """The events of a search, as they may come in from several trials at a time."""
    curves = draw(st.lists(st.lists(scores, min_size=1, max_size=NUM_STEPS), min_size=1, max_size=12))
    events = []
    left = {number: len(curve) for number, curve in enumerate(curves)}
    while left:
        number = draw(st.sampled_from(sorted(left)))
        step = len(curves[number]) - left[number] + 1
        events.append((number, step, min(curves[number][:step])))
        left[number] -= 1
        left = {number: count for number, count in left.items() if count}
    return events


def take_in(scheduler: Scheduler, events: list[Event]) -> list[str | None]:
    return [scheduler.stops(number, step, NUM_STEPS, score) for number, step, score in events]


def later_answers(scheduler: Scheduler) -> list[str | None]:
    """What newcomers hear at each of their evaluations."""
    newcomers = [(100 + index, score) for index, score in enumerate([0.35, 0.55, 0.65, inf, 0.2])]
    return take_in(
        scheduler, [(number, step, score) for number, score in newcomers for step in range(1, NUM_STEPS + 1)]
    )


@every_scheduler
@few_examples
@given(events=searches())
def test_none_is_stopped_between_rungs_or_at_the_last_step(config: StrictConfig | None, events: list[Event]) -> None:
    scheduler = make_scheduler(config, seed=1)
    rungs = scheduler.rungs(NUM_STEPS)
    assert list(rungs) == sorted(set(rungs)) and set(rungs) <= set(range(1, NUM_STEPS))
    stopped_at = {step for (_, step, _), why in zip(events, take_in(scheduler, events), strict=True) if why is not None}
    assert stopped_at <= set(rungs)


@every_scheduler
@few_examples
@given(events=searches())
def test_the_best_trial_so_far_is_never_stopped(config: StrictConfig | None, events: list[Event]) -> None:
    scheduler = make_scheduler(config, seed=1)
    best_at = dict.fromkeys(range(1, NUM_STEPS + 1), inf)
    for number, step, score in events:
        best_at[step] = min(best_at[step], score)
        why = scheduler.stops(number, step, NUM_STEPS, score)
        assert why is None or score > best_at[step]


@every_scheduler
@few_examples
@given(events=searches())
def test_to_enter_the_same_score_again_changes_nothing(config: StrictConfig | None, events: list[Event]) -> None:
    once, often = make_scheduler(config, seed=1), make_scheduler(config, seed=1)
    for event in events:
        (answer,) = take_in(once, [event])
        assert take_in(often, [event, event]) == [answer, answer]
    take_in(often, events)
    assert later_answers(often) == later_answers(once)


@every_scheduler
@few_examples
@given(data=st.data(), events=searches())
def test_rebuilt_from_the_scores_in_any_order_it_answers_the_same(
    config: StrictConfig | None, data: st.DataObject, events: list[Event]
) -> None:
    first, rebuilt = make_scheduler(config, seed=1), make_scheduler(config, seed=1)
    take_in(first, events)
    take_in(rebuilt, data.draw(st.permutations(events)))
    assert later_answers(rebuilt) == later_answers(first)


@every_scheduler
def test_an_infinite_score_ranks_worst(config: StrictConfig | None) -> None:
    scheduler = make_scheduler(config, seed=1)
    rungs = scheduler.rungs(NUM_STEPS)
    # Equals go on together; 20 trials are enough for each of HyperBand's brackets to have some.
    assert not any(take_in(scheduler, [(number, step, 0.5) for step in rungs for number in range(20)]))
    for step in rungs:
        diverged = take_in(scheduler, [(number, step, inf) for number in range(20, 40)])
        assert any(diverged)
        # None that is finite is stopped where an infinite one went on.
        finite = take_in(scheduler, [(number, step, 0.9) for number in range(20, 40)])
        assert all(was is not None for was, now in zip(diverged, finite, strict=True) if now is not None)


@pytest.mark.parametrize(
    ("value", "config"),
    [
        ({"name": "asha", "reduction_factor": 3.0}, AshaConfig(reduction_factor=3.0)),
        ({"grace_frac": 0.25}, AshaConfig(grace_frac=0.25)),
        ({"name": "hyperband"}, HyperbandConfig()),
        ({"name": "median", "min_trials": 7}, MedianConfig(min_trials=7)),
        ("off", None),
        (False, None),
    ],
)
def test_a_study_names_its_scheduler(value: Any, config: StrictConfig | None) -> None:
    assert validate(StudyConfig, {"scheduler": value}).scheduler == config
