"""Samplers by name. A sampler is made anew for every suggestion and seeded by the trial's number.

What it suggests then depends on the study's trials alone, not on how often the search was interrupted.
"""

import warnings
from typing import Literal

import optuna
from optuna.samplers import BaseSampler
from pydantic import Field

from ell_tune.config import StrictConfig


class TpeConfig(StrictConfig):
    """Tree-structured Parzen estimator over all searched fields together (multivariate, one group per condition)."""

    name: Literal["tpe"] = "tpe"
    num_startup_trials: int = Field(8, ge=1, description="random trials before the model chooses")


class RandomConfig(StrictConfig):
    """Independent uniform draws."""

    name: Literal["random"] = "random"


def make_sampler(config: StrictConfig, seed: int, trial_number: int) -> BaseSampler:
    """The sampler for one suggestion."""
    derived_seed = (seed * 1_000_003 + trial_number) % 2**31
    if isinstance(config, TpeConfig):
        with warnings.catch_warnings():
            # `multivariate` and `group` are marked experimental in Optuna; conditional spaces need both.
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return optuna.samplers.TPESampler(
                n_startup_trials=config.num_startup_trials,
                multivariate=True,
                group=True,
                constant_liar=True,
                seed=derived_seed,
            )
    assert isinstance(config, RandomConfig)
    return optuna.samplers.RandomSampler(seed=derived_seed)
