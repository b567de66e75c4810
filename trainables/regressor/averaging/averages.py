"""Running averages of the weights, per optimiser step: the plain mean (SWA) and the exponential one (EMA).

Izmailov et al. (2018), Averaging Weights Leads to Wider Optima and Better Generalization; Polyak & Juditsky (1992),
Acceleration of Stochastic Approximation by Averaging. There is no batch normalisation here whose statistics would have
to be computed anew. An average never disturbs the training that it averages: both are scored, and the better counts.
"""

from collections.abc import Callable

from pydantic import Field
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ell_tune.config import StrictConfig, or_off
from trainables.regressor.model import Regressor
from trainables.regressor.optimization.schedule import first_step


class SwaConfig(StrictConfig):
    """When averaging starts, and the learning rate from then on."""

    start_frac: float = Field(
        default=0.75,
        ge=0.0,
        le=0.99,
        description="the fraction of all steps after which weights are averaged",
    )
    lr_factor: or_off(float) = Field(  # type: ignore[valid-type]
        default=None,
        ge=0.01,
        le=1.0,
        description="the learning rate while averaging, as a constant fraction of each parameter's peak; "
        "off keeps the schedule; a warm-up that is not over by then ends there",
    )


class EmaConfig(StrictConfig):
    """How long the exponential average remembers, and when it starts."""

    decay: float = Field(
        default=0.99,
        ge=0.5,
        le=0.9999,
        description="how much of the average each step keeps; it spans 1/(1-decay) steps",
    )
    start_frac: float = Field(
        default=0.0, ge=0.0, le=0.99, description="the fraction of all steps after which the average begins"
    )


class WeightAverage:
    """An average of the weights after every optimiser step since `start_step`, the last one included.

    It begins as the weights after that step.
    """

    def __init__(self, start_step: int, multi_avg_fn: Callable[..., None] | None = None) -> None:
        """`multi_avg_fn` as `AveragedModel` takes it; without one the average is the plain mean."""
        self.start_step = start_step
        self._multi_avg_fn = multi_avg_fn
        self._averaged: AveragedModel | None = None  # made when averaging starts: it is as large as the model

    def update(self, model: Regressor, step: int) -> None:
        """Takes the weights after optimiser step `step` (from 0) into the average, if averaging has started."""
        if step < self.start_step:
            return
        if self._averaged is None:
            self.begin(model)
        assert self._averaged is not None
        self._averaged.update_parameters(model)

    def begin(self, model: Regressor, num_averaged: int = 0) -> None:
        """Makes the average's own model, a copy of `model` that counts as the average of `num_averaged` steps."""
        self._averaged = AveragedModel(model, multi_avg_fn=self._multi_avg_fn)
        self._averaged.n_averaged.fill_(num_averaged)

    @property
    def num_averaged(self) -> int:
        """How many steps' weights it holds."""
        return 0 if self._averaged is None else int(self._averaged.n_averaged)

    @property
    def model(self) -> Regressor | None:
        """The model with averaged weights, or None before averaging has started."""
        if self._averaged is None:
            return None
        module = self._averaged.module
        assert isinstance(module, Regressor)
        return module


class WeightAverages:
    """The averages that a config asks for, by the names under which they are scored: `swa`, `ema`."""

    def __init__(self, swa: SwaConfig | None, ema: EmaConfig | None, num_steps: int) -> None:
        self.by_name: dict[str, WeightAverage] = {}
        self._swa_lr_factor: float | None = None
        if swa is not None:
            self.by_name["swa"] = WeightAverage(first_step(swa.start_frac, num_steps))
            self._swa_lr_factor = swa.lr_factor
        if ema is not None:
            self.by_name["ema"] = WeightAverage(first_step(ema.start_frac, num_steps), get_ema_multi_avg_fn(ema.decay))

    def learning_rate_factor(self, step: int, scheduled: float) -> float:
        """The factor for optimiser step `step` (from 0), where the schedule alone would give `scheduled`.

        torch's `SWALR` would set every parameter group to one rate and so erase layer-wise decay; here the rate of
        SWA's phase is a factor of each group's own peak.
        """
        if self._swa_lr_factor is None or step < self.by_name["swa"].start_step:
            return scheduled
        return self._swa_lr_factor

    def update(self, model: Regressor, step: int) -> None:
        """Takes the weights after optimiser step `step` (from 0) into every average that has started."""
        for average in self.by_name.values():
            average.update(model, step)

    def models(self) -> dict[str, Regressor]:
        """The averaged models so far, by name."""
        return {name: average.model for name, average in self.by_name.items() if average.model is not None}
