"""Samplers by name. A sampler is made anew for every suggestion and seeded by the trial's number.

What it suggests then depends on the study's trials alone, not on how often the search was interrupted. Optuna's
samplers keep what they must remember in the study, so this suits all of them.
"""

import warnings
from typing import Any, Literal

import optuna
from optuna.samplers import BaseSampler
from pydantic import Field

from ell_tune.config import StrictConfig, one_of
from ell_tune.errors import UserError


class TpeConfig(StrictConfig):
    """Tree-structured Parzen estimator."""

    name: Literal["tpe"] = "tpe"
    num_startup_trials: int = Field(8, ge=1, description="random trials before the model chooses")
    multivariate: bool = Field(True, description="model all fields together, one group per condition")
    constant_liar: bool = Field(True, description="keep away from configs that are under way")


class GpConfig(StrictConfig):
    """Gaussian process with expected improvement; fields under a condition are drawn independently. Takes seconds."""

    name: Literal["gp"] = "gp"
    num_startup_trials: int = Field(8, ge=1, description="random trials before the model chooses")


class CmaEsConfig(StrictConfig):
    """CMA-ES over the numbers; choices are drawn independently. For hundreds of trials. Needs the extra `samplers`."""

    name: Literal["cma_es"] = "cma_es"
    num_startup_trials: int = Field(8, ge=1, description="random trials before the model chooses")


class QmcConfig(StrictConfig):
    """Sobol points: as blind as random draws, but spread evenly. Choices are drawn independently."""

    name: Literal["qmc"] = "qmc"


class RandomConfig(StrictConfig):
    """Independent uniform draws."""

    name: Literal["random"] = "random"


SamplerConfig = one_of(TpeConfig, GpConfig, CmaEsConfig, QmcConfig, RandomConfig)


def make_sampler(config: StrictConfig, seed: int, trial_number: int) -> BaseSampler:
    """The sampler for one suggestion.

    Raises:
        UserError: the sampler needs a package that is not installed.
    """
    derived_seed = (seed * 1_000_003 + trial_number) % 2**31
    with warnings.catch_warnings():
        # Optuna marks `multivariate`, `group` and some samplers as experimental.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        match config:
            case TpeConfig():
                return optuna.samplers.TPESampler(
                    n_startup_trials=config.num_startup_trials,
                    multivariate=config.multivariate,
                    group=config.multivariate,
                    constant_liar=config.constant_liar,
                    seed=derived_seed,
                )
            case GpConfig():
                return optuna.samplers.GPSampler(
                    n_startup_trials=config.num_startup_trials,
                    independent_sampler=optuna.samplers.RandomSampler(seed=derived_seed),
                    seed=derived_seed,
                    warn_independent_sampling=False,
                )
            case CmaEsConfig():
                return _cma_es(config, derived_seed)
            case QmcConfig():
                return optuna.samplers.QMCSampler(
                    seed=seed,  # of the whole sequence, whose next point the study remembers
                    independent_sampler=optuna.samplers.RandomSampler(seed=derived_seed),
                    warn_independent_sampling=False,
                )
            case _:
                return optuna.samplers.RandomSampler(seed=derived_seed)


def _cma_es(config: CmaEsConfig, seed: int) -> BaseSampler:
    try:
        import cmaes  # noqa: F401  # Optuna imports it only when it first suggests
    except ImportError:
        raise UserError(
            "study.sampler: cma_es needs the package `cmaes`, which is not installed. Install it with "
            "`pip install 'ell-tune[samplers]'`, or take another sampler (tpe, gp, qmc, random)."
        ) from None
    options: dict[str, Any] = {"n_startup_trials": config.num_startup_trials, "warn_independent_sampling": False}
    return optuna.samplers.CmaEsSampler(
        independent_sampler=optuna.samplers.RandomSampler(seed=seed), seed=seed, **options
    )
