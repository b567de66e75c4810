"""Limits that a config must keep to be of use, such as a model that is small enough.

A trainable measures them at its evaluations (`Progress.metrics`). A trial that breaks one ends at once, and samplers
that know constraints (TPE, GP, NSGA-II) learn from how far it broke it.
"""

from collections.abc import Mapping

from pydantic import Field

from ell_tune.config import StrictConfig


class ConstraintsConfig(StrictConfig):
    """The most that a config may take; each is off unless it is given."""

    num_parameters: float | None = Field(None, gt=0, description="parameters of the model, frozen ones too")
    peak_memory_mib: float | None = Field(None, gt=0, description="peak memory of a fit: GPU memory where it has a GPU")
    seconds_per_essay: float | None = Field(None, gt=0, description="time to score one essay, from its tokens")

    @property
    def limits(self) -> dict[str, float]:
        """Metric → the most it may be."""
        return {name: limit for name, limit in self.model_dump().items() if limit is not None}


def violations(limits: Mapping[str, float], metrics: Mapping[str, float]) -> dict[str, float]:
    """By how much of its limit each constraint is broken. 0 or less: kept.

    A metric that was not measured counts as at its limit: it breaks nothing. It has to have a value, because GP refuses
    trials of which one has more constraints than another.
    """
    return {name: metrics.get(name, limit) / limit - 1 for name, limit in limits.items()}


def broken(limits: Mapping[str, float], metrics: Mapping[str, float]) -> str | None:
    """Why a trial ends that breaks a constraint, by the one that it breaks most; None if it keeps all."""
    found = violations(limits, metrics)
    worst = max(found, key=lambda name: found[name], default=None)
    if worst is None or found[worst] <= 0:
        return None
    return f"breaks a constraint: {worst} is {metrics[worst]:.4g}, and may be {limits[worst]:g}"
