"""The flat view of a nested space."""

from pathlib import Path

import numpy as np
import pytest
from studies import write_space

from benchmarks.search.fields import Field, flat_fields, from_units, to_features
from ell_tune.choosing.search_spec import load_search_spec
from ell_tune.spaces.space import Numeric, Space


@pytest.fixture
def space(tmp_path: Path) -> Space:
    return load_search_spec(write_space(tmp_path / "space.yaml")).space


def test_every_parameter_is_there_with_its_condition(space: Space) -> None:
    fields = flat_fields(space)
    assert tuple(field.name for field in fields) == space.searched
    conditions = {field.name: dict(field.conditions) for field in fields}
    assert conditions["x"] == {}
    assert conditions["shape[curved].power"] == {"shape": "curved"}


def test_what_does_not_apply_is_left_out(space: Space) -> None:
    fields = flat_fields(space)
    # x, y, shape, its power, bonus, its amount
    plain = from_units(fields, [0.5, 0.0, 0.0, 0.5, 0.0, 0.5])
    assert plain == {"x": 0.0, "y": 0, "shape": "plain", "bonus": "off"}
    curved = from_units(fields, [1.0, 0.99, 0.9, 0.25, 0.0, 0.5])
    assert curved == {"x": 10.0, "y": 5, "shape": "curved", "shape[curved].power": 1.5, "bonus": "off"}
    assert to_features(fields, plain).tolist() == [0.5, pytest.approx(1 / 12), 1, 0, 0.5, 1, 0, 0.5]


def test_places_and_values_agree(space: Space) -> None:
    fields = flat_fields(space)
    rng = np.random.default_rng(0)
    for _ in range(50):
        params = from_units(fields, rng.random(len(fields)))
        for field in fields:
            if field.name in params:
                assert field.at(field.unit(params[field.name])) == pytest.approx(params[field.name])


def test_a_logarithmic_field_has_its_geometric_mean_in_the_middle() -> None:
    field = Field("lr", Numeric("log", 1e-5, 1e-3), {})
    assert field.at(0.5) == pytest.approx(1e-4)
    assert field.unit(1e-4) == pytest.approx(0.5)
