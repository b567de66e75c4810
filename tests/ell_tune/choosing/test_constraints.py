"""By how much of its limit each constraint is broken, by hand."""

import pytest

from ell_tune.choosing.constraints import ConstraintsConfig, violations
from ell_tune.config import InvalidConfig, validate
from ell_tune.trainable import MEASURES


def test_only_what_is_given_is_a_limit() -> None:
    assert ConstraintsConfig().limits == {}
    assert ConstraintsConfig(num_parameters=80, seconds_per_essay=0.5).limits == {
        "num_parameters": 80,
        "seconds_per_essay": 0.5,
    }


def test_every_measure_of_a_trainable_can_be_limited() -> None:
    assert tuple(ConstraintsConfig.model_fields) == MEASURES


@pytest.mark.parametrize(("measured", "violation"), [(120.0, 0.5), (80.0, 0.0), (60.0, -0.25), (0.0, -1.0)])
def test_a_violation_is_a_share_of_the_limit(measured: float, violation: float) -> None:
    assert violations({"num_parameters": 80}, {"num_parameters": measured}) == {"num_parameters": violation}


def test_what_is_not_measured_is_neither_broken_nor_left_out_and_what_is_not_limited_is_left_out() -> None:
    limits = {"num_parameters": 80.0, "seconds_per_essay": 0.5}
    assert violations(limits, {"seconds_per_essay": 1.0, "train_loss": 9.0}) == {
        "num_parameters": 0.0,
        "seconds_per_essay": 1.0,
    }


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_is_above_0(limit: float) -> None:
    with pytest.raises(InvalidConfig, match=r"peak_memory_mib: must be null or a number, above 0, got"):
        validate(ConstraintsConfig, {"peak_memory_mib": limit})
