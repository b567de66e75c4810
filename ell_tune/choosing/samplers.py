"""Samplers by name. A sampler is made anew for every suggestion and seeded by the trial's number.

What it suggests then depends on the study's trials alone, not on how often the search was interrupted. Optuna's
samplers keep what they must remember in the study; where that counts interruptions too, a class here does otherwise.
"""

import json
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState
from pydantic import Field

from ell_tune.choosing.nsga2 import Nsga2, Nsga2Config
from ell_tune.config import StrictConfig, one_of
from ell_tune.errors import UserError
from ell_tune.trials.costs import Cost


class TpeConfig(StrictConfig):
    """Tree-structured Parzen estimator."""

    name: Literal["tpe"] = "tpe"
    num_startup_trials: int = Field(8, ge=1, description="random trials before the model chooses")
    multivariate: bool = Field(False, description="model all fields together, one group per condition, not one by one")
    constant_liar: bool = Field(True, description="keep away from configs that are under way")


class GpConfig(StrictConfig):
    """Gaussian process with expected improvement; fields under a condition are drawn independently. Takes seconds.

    It learns from complete trials only, so `stopped_as` is `extrapolated` unless you set it.
    """

    name: Literal["gp"] = "gp"
    num_startup_trials: int = Field(8, ge=1, description="random trials before the model chooses")


class CmaEsConfig(StrictConfig):
    """CMA-ES over the numbers; choices and fields under a condition are drawn independently.

    For hundreds of trials. It learns from complete trials only, so `stopped_as` is `extrapolated` unless you set it:
    under `pruned` it would learn nothing from stopped ones. It learns nothing from constraints. Needs the extra
    `samplers`.
    """

    name: Literal["cma_es"] = "cma_es"
    num_startup_trials: int = Field(8, ge=1, description="random trials before the model chooses")


class QmcConfig(StrictConfig):
    """Sobol points: as blind as random draws, but spread evenly. Fields under a condition are drawn independently."""

    name: Literal["qmc"] = "qmc"


class RandomConfig(StrictConfig):
    """Independent uniform draws."""

    name: Literal["random"] = "random"


SamplerConfig = one_of(TpeConfig, GpConfig, CmaEsConfig, Nsga2Config, QmcConfig, RandomConfig)


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
                return _Gp(
                    n_startup_trials=config.num_startup_trials,
                    independent_sampler=optuna.samplers.RandomSampler(seed=derived_seed),
                    seed=derived_seed,
                    warn_independent_sampling=False,
                )
            case CmaEsConfig():
                return _cma_es(config, derived_seed)
            case Nsga2Config():
                return Nsga2(config, derived_seed)
            case QmcConfig():
                return _Qmc(trial_number, seed, optuna.samplers.RandomSampler(seed=derived_seed))
            case _:
                return optuna.samplers.RandomSampler(seed=derived_seed)


def sampled_cost(config: StrictConfig) -> Cost | None:
    """What a sampler keeps low besides the score, if it has something."""
    return config.cost if isinstance(config, Nsga2Config) else None


def _cma_es(config: CmaEsConfig, seed: int) -> BaseSampler:
    try:
        import cmaes  # noqa: F401  # Optuna imports it only when it first suggests
    except ImportError:
        raise UserError(
            "study.sampler: cma_es needs the package `cmaes`, which is not installed. Install it with "
            "`pip install 'ell-tune[samplers]'`, or take another sampler (tpe, gp, qmc, random)."
        ) from None
    options: dict[str, Any] = {"n_startup_trials": config.num_startup_trials, "warn_independent_sampling": False}
    return _CmaEs(independent_sampler=optuna.samplers.RandomSampler(seed=seed), seed=seed, **options)


def _without_conditional(search_space: Mapping[str, BaseDistribution]) -> dict[str, BaseDistribution]:
    """The fields that every trial of a space has; `ell_tune.spaces.space` puts the others' condition into brackets."""
    return {name: distribution for name, distribution in search_space.items() if "[" not in name}


class _Gp(optuna.samplers.GPSampler):
    """Suggests the same to a trial that goes on, from which Optuna's would keep away as if it were another.

    A failed config, whose score is infinite, it takes for as bad as the worst that ran, without a warning each time.
    """

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        # What it suggested stands in the journal, in one part unless there are dozens of fields.
        suggested = trial.system_attrs.get("gp:relative_params:0")
        if suggested is not None and suggested.endswith("}"):
            found: dict[str, Any] = json.loads(suggested)
            return found
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Clip non-finite values")
            return super().sample_relative(study, trial, search_space)


class _CmaEs(optuna.samplers.CmaEsSampler):
    """Over the same fields at every trial: Optuna's gives up for good once their number changes."""

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return _without_conditional(super().infer_relative_search_space(study, trial))

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Nothing. Optuna's warns at every trial that constraints teach it nothing, which `CmaEsConfig` says once."""


class _Qmc(optuna.samplers.QMCSampler):
    """The Sobol point of a trial is that of its number. Optuna's takes a new one each time that a trial goes on."""

    def __init__(self, trial_number: int, seed: int, independent_sampler: BaseSampler) -> None:
        # Without scrambling every seed has the same points.
        super().__init__(
            scramble=True, seed=seed, independent_sampler=independent_sampler, warn_independent_sampling=False
        )
        self._trial_number = trial_number

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        others = (other for other in study.get_trials(deepcopy=False) if other.number != trial.number)
        return _without_conditional(next((other.distributions for other in others if other.distributions), {}))

    def _find_sample_id(self, study: optuna.Study, search_space: dict[str, BaseDistribution]) -> int:
        return self._trial_number
