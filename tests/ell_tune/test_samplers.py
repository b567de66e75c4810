"""A suggestion depends on the seed, the trial's number and the study's trials, and on nothing else."""

import math
from typing import Any

import optuna
import pytest

from ell_tune.config import StrictConfig
from ell_tune.samplers import RandomConfig, TpeConfig, make_sampler
from ell_tune.space import Alternative, Choice, Numeric, Space

SPACE = Space(
    {"x": 1.0, "y": 1, "swa": None},
    {
        "x": Numeric("log", 1e-3, 1e3),
        "y": Numeric("int", 0, 20),
        "swa": Choice((Alternative("off", None), Alternative("on", {"frac": 0.5}, {"frac": Numeric("float", 0, 1)}))),
    },
)
CONFIGS: list[StrictConfig] = [RandomConfig(), TpeConfig(num_startup_trials=4)]


def loss(config: dict[str, Any]) -> float:
    """The best is x = 10, y = 0."""
    return abs(math.log10(config["x"]) - 1) + config["y"] / 10


def suggestions(config: StrictConfig, seed: int, num_trials: int) -> list[dict[str, Any]]:
    """What a study's first trials are, each told its loss."""
    study = optuna.create_study()
    params = []
    for number in range(num_trials):
        study.sampler = make_sampler(config, seed, number)
        trial = study.ask()
        study.tell(trial, loss(SPACE.suggest(trial)))
        params.append(trial.params)
    return params


@pytest.mark.parametrize("config", CONFIGS)
def test_the_same_seed_makes_the_same_search(config: StrictConfig) -> None:
    assert suggestions(config, seed=1, num_trials=10) == suggestions(config, seed=1, num_trials=10)


@pytest.mark.parametrize("config", CONFIGS)
def test_other_seeds_and_other_trials_get_other_suggestions(config: StrictConfig) -> None:
    first, second = suggestions(config, seed=1, num_trials=10), suggestions(config, seed=2, num_trials=10)
    assert len({params["x"] for params in first + second}) == 20


@pytest.mark.parametrize("config", CONFIGS)
def test_a_fresh_sampler_suggests_the_same_for_the_same_study(config: StrictConfig) -> None:
    """Nothing that a sampler has done before enters a suggestion, so a search can go on in a new process."""
    study = optuna.create_study()
    for number in range(8):
        study.sampler = make_sampler(config, 3, number)
        trial = study.ask()
        SPACE.suggest(trial)
        study.tell(trial, float(number))
    twins = []
    for _ in range(2):
        study.sampler = make_sampler(config, 3, 8)
        trial = study.ask()
        SPACE.suggest(trial)
        twins.append(trial.params)
        study._storage.set_trial_state_values(trial._trial_id, optuna.trial.TrialState.FAIL)  # TPE ignores failed ones
    assert twins[0] == twins[1]


def test_tpe_comes_nearer_to_the_best_than_chance() -> None:
    def mean_loss(config: StrictConfig) -> float:
        late = [params for seed in range(3) for params in suggestions(config, seed, 30)[10:]]
        return sum(loss(params) for params in late) / len(late)

    assert mean_loss(TpeConfig(num_startup_trials=8)) < 0.7 * mean_loss(RandomConfig())
