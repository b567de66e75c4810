"""Every shipped space: it loads, its enqueued configs are in it, and whatever is drawn from it can be trained."""

from pathlib import Path

import optuna
import pytest
from optuna.samplers import RandomSampler
from optuna.trial import FixedTrial

from ell_tune.config import validate
from ell_tune.search_spec import SearchSpec, load_search_spec

SPACES = sorted((Path(__file__).parents[1] / "search_spaces").glob("*.yaml"))


@pytest.fixture(params=SPACES, ids=lambda path: path.stem)
def spec(request: pytest.FixtureRequest) -> SearchSpec:
    return load_search_spec(request.param)


def test_there_are_spaces() -> None:
    assert len(SPACES) > 0


def test_every_enqueued_config_comes_out_of_the_search_as_it_went_in(spec: SearchSpec) -> None:
    assert spec.enqueue[0] == spec.space.base
    for config in spec.enqueue:
        assert spec.space.suggest(FixedTrial(spec.space.encode(config))) == config


def test_every_draw_is_a_legal_config_and_encodes_to_its_parameters(spec: SearchSpec) -> None:
    study = optuna.create_study(sampler=RandomSampler(seed=0))
    for _ in range(50):
        trial = study.ask()
        config = spec.space.suggest(trial)
        assert validate(spec.trainable.Config, config).model_dump() == config
        assert spec.space.encode(config) == trial.params
        assert trial.params.keys() <= set(spec.space.searched)
