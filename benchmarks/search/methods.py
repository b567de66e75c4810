"""The search methods by name, each with the defaults of where it comes from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import ceil
from typing import Any

from benchmarks.search.curves import CurveTable
from benchmarks.search.strategy import Strategy
from ell_tune.choosing.search_spec import StudyConfig
from ell_tune.config import validate

OURS, STOCK = "ours", "ray-optuna-asha"
Maker = Callable[[CurveTable, int], Strategy]  # table, seed → a fresh search


@dataclass(frozen=True)
class Method:
    """A search method. Libraries are imported by `make`, so that a method costs nothing where it is not run."""

    name: str
    make: Maker
    adapter: str  # the module in this folder that drives it
    settings: Mapping[str, Any] = field(default_factory=dict)  # of ours: the YAML's `study:` section


def our_method(name: str, settings: Mapping[str, Any]) -> Method:
    """A variant of our search.

    Raises:
        InvalidConfig: the settings are none of a `study:` section.
    """
    validate(StudyConfig, dict(settings))

    def make(table: CurveTable, seed: int) -> Strategy:
        from benchmarks.search.ours import OurSearch

        return OurSearch(table, settings, seed)

    return Method(name, make, "ours", settings)


def _ray(name: str, *, like_ours: bool = False, stops: bool = True, is_random: bool = False) -> Method:
    def make(table: CurveTable, seed: int) -> Strategy:
        import optuna

        from benchmarks.search import ray_tune

        scheduler = None
        if stops and like_ours:
            ours = StudyConfig().scheduler
            grace_period = ceil(ours.grace_frac * table.num_steps)
            scheduler = ray_tune.asha(table, grace_period, ours.reduction_factor)
        elif stops:
            scheduler = ray_tune.asha(table)
        sampler = optuna.samplers.RandomSampler(seed) if is_random else None
        return ray_tune.RaySearch(table, seed, scheduler, sampler)

    return Method(name, make, "ray_tune")


def _optuna(name: str, pruner: str) -> Method:
    def make(table: CurveTable, seed: int) -> Strategy:
        import optuna

        from benchmarks.search.optuna_alone import OptunaSearch

        return OptunaSearch(table, seed, getattr(optuna.pruners, pruner)())

    return Method(name, make, "optuna_alone")


def _syne_tune(name: str) -> Method:
    def make(table: CurveTable, seed: int) -> Strategy:
        try:
            from benchmarks.search.syne_tune_peer import SyneTuneSearch
        except ImportError as error:
            raise SystemExit(
                f"{error}: Syne Tune's methods need `pip install 'ell-tune[peers]'`; or name others by --method."
            ) from None
        return SyneTuneSearch(table, seed, name)

    return Method(f"syne-tune-{name}", make, "syne_tune_peer")


PEERS: Mapping[str, Method] = {
    method.name: method
    for method in [
        _ray(STOCK),
        _ray("ray-optuna-asha-like-ours", like_ours=True),
        _optuna("optuna-successive-halving", "SuccessiveHalvingPruner"),
        _optuna("optuna-hyperband", "HyperbandPruner"),
        _ray("random", stops=False, is_random=True),
        _ray("random-asha", is_random=True),
        *(_syne_tune(name) for name in ("asha", "bohb", "asha-cqr", "cqr")),
    ]
}
