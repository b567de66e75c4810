"""The curves of the learning rate, by hand and against transformers' own schedulers in a loop."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from transformers import (
    get_constant_schedule_with_warmup,
    get_cosine_schedule_with_warmup,
    get_cosine_with_hard_restarts_schedule_with_warmup,
    get_cosine_with_min_lr_schedule_with_warmup,
    get_inverse_sqrt_schedule,
    get_linear_schedule_with_warmup,
    get_polynomial_decay_schedule_with_warmup,
    get_wsd_schedule,
)

from trainables.regressor.optimization.schedule import ScheduleConfig, learning_rate_factor, set_learning_rates


def factors(curve: dict[str, Any], warmup_frac: float, num_steps: int) -> list[float]:
    config = ScheduleConfig.model_validate({"curve": curve, "warmup_frac": warmup_frac})
    factor = learning_rate_factor(config, num_steps)
    return [factor(step) for step in range(num_steps)]


@pytest.mark.parametrize(
    ("curve", "warmup_frac", "expected"),
    [
        ({"name": "constant"}, 0.0, [1.0, 1.0, 1.0, 1.0]),
        ({"name": "constant"}, 0.5, [0.0, 0.5, 1.0, 1.0]),
        ({"name": "linear"}, 0.0, [1.0, 0.75, 0.5, 0.25]),
        ({"name": "linear"}, 0.5, [0.0, 0.5, 1.0, 0.5]),
        ({"name": "cosine"}, 0.0, [1.0, 0.853553, 0.5, 0.146447]),
        ({"name": "cosine"}, 0.25, [0.0, 1.0, 0.75, 0.25]),
        ({"name": "cosine_restarts", "num_cycles": 2}, 0.0, [1.0, 0.5, 1.0, 0.5]),
        ({"name": "cosine_restarts", "num_cycles": 2}, 0.2, [0.0, 1.0, 0.5, 1.0, 0.5]),
        ({"name": "polynomial", "power": 3.0}, 0.0, [1.0, 0.421875, 0.125, 0.015625]),
        # FB3's 3rd: cubic from 4e-6 to 7e-7.
        ({"name": "polynomial", "power": 3.0, "end_factor": 0.175}, 0.0, [1.0, 0.523047, 0.278125, 0.187891]),
        ({"name": "polynomial", "power": 1.0, "end_factor": 0.5}, 0.5, [0.0, 0.5, 1.0, 0.75]),
        ({"name": "cosine", "end_factor": 0.2}, 0.0, [1.0, 0.882843, 0.6, 0.317157]),
        ({"name": "trapezoid", "decay_frac": 0.5}, 0.0, [1.0, 1.0, 1.0, 1.0, 1.0, 0.853553, 0.5, 0.146447]),
        ({"name": "trapezoid", "decay_frac": 0.9}, 0.5, [0.0, 0.5, 1.0, 0.5]),
        ({"name": "inverse_sqrt", "timescale": 3}, 0.25, [0.0, 1.0, 0.866025, 0.774597]),
    ],
)
def test_curves_by_hand(curve: dict[str, Any], warmup_frac: float, expected: list[float]) -> None:
    assert factors(curve, warmup_frac, len(expected)) == pytest.approx(expected, abs=1e-6)


THEIRS: list[tuple[dict[str, Any], Any, dict[str, Any]]] = [
    ({"name": "constant"}, get_constant_schedule_with_warmup, {}),
    ({"name": "linear"}, get_linear_schedule_with_warmup, {}),
    ({"name": "cosine"}, get_cosine_schedule_with_warmup, {}),
    (
        {"name": "cosine_restarts", "num_cycles": 3},
        get_cosine_with_hard_restarts_schedule_with_warmup,
        {"num_cycles": 3},
    ),
    (
        {"name": "polynomial", "power": 3.0, "end_factor": 0.2},
        get_polynomial_decay_schedule_with_warmup,
        {"power": 3.0, "lr_end": 0.2 * 4e-6},
    ),
    ({"name": "cosine", "end_factor": 0.3}, get_cosine_with_min_lr_schedule_with_warmup, {"min_lr_rate": 0.3}),
    ({"name": "inverse_sqrt", "timescale": 20}, get_inverse_sqrt_schedule, {"timescale": 20}),
]
UNAWARE_OF_THE_END = {"constant", "inverse_sqrt"}


@pytest.mark.parametrize(("curve", "make_scheduler", "arguments"), THEIRS, ids=lambda value: str(value)[:30])
@given(warmup_frac=st.floats(0.0, 0.9), num_steps=st.integers(1, 60))
def test_curves_are_those_of_transformers_stepped_in_a_loop(
    curve: dict[str, Any], make_scheduler: Any, arguments: dict[str, Any], warmup_frac: float, num_steps: int
) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=4e-6)
    if curve["name"] not in UNAWARE_OF_THE_END:
        arguments = arguments | {"num_training_steps": num_steps}
    scheduler = make_scheduler(optimizer, num_warmup_steps=math.ceil(warmup_frac * num_steps), **arguments)
    theirs = []
    for step in range(num_steps):
        if step > 0:
            optimizer.step()
            scheduler.step()
        theirs.append(scheduler.get_last_lr()[0])
    assert [4e-6 * factor for factor in factors(curve, warmup_frac, num_steps)] == pytest.approx(theirs, abs=1e-15)


def test_a_rate_depends_on_its_step_alone() -> None:
    config = ScheduleConfig(warmup_frac=0.3)
    forwards, fresh = learning_rate_factor(config, 10), [learning_rate_factor(config, 10) for _ in range(10)]
    backwards = {step: forwards(step) for step in reversed(range(10))}
    assert [backwards[step] for step in range(10)] == [factor(step) for step, factor in enumerate(fresh)]


def test_rates_are_factors_of_each_groups_own() -> None:
    groups = [{"params": [nn.Parameter(torch.zeros(1))], "lr": lr, "initial_lr": lr} for lr in (5e-3, 1e-3)]
    optimizer = torch.optim.SGD(groups)
    for factor in (0.0, 0.1, 1.0):
        set_learning_rates(optimizer, factor)
        assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([factor * 5e-3, factor * 1e-3])


@given(warmup_frac=st.floats(0.0, 0.9), decay_frac=st.floats(0.01, 0.9), num_steps=st.integers(1, 60))
def test_a_trapezoid_is_that_of_transformers(warmup_frac: float, decay_frac: float, num_steps: int) -> None:
    num_warmup = math.ceil(warmup_frac * num_steps)
    theirs = get_wsd_schedule(
        torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0),
        num_warmup_steps=num_warmup,
        num_decay_steps=math.ceil(decay_frac * (num_steps - num_warmup)),
        num_training_steps=num_steps,
    ).lr_lambdas[0]
    found = factors({"name": "trapezoid", "decay_frac": decay_frac}, warmup_frac, num_steps)
    assert found == [theirs(step) for step in range(num_steps)]
    assert max(found[num_warmup:], default=1.0) == 1.0  # no jump: the plateau begins or the fall does
