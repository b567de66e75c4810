"""Every hyperparameter of the regressor: the configs of its parts, each declared beside what it steers."""

from pydantic import Field

from ell_tune.config import StrictConfig, or_off
from trainables.regressor.averaging.averages import EmaConfig, SwaConfig
from trainables.regressor.averaging.soup import SoupConfig
from trainables.regressor.encoder.backbone import BackboneConfig
from trainables.regressor.encoder.mixout import MixoutConfig
from trainables.regressor.encoder.reinit import ReinitConfig
from trainables.regressor.essays.text import TextConfig
from trainables.regressor.fit.adversarial import AdversarialConfig
from trainables.regressor.fit.plan import TrainingConfig
from trainables.regressor.head import HeadConfig
from trainables.regressor.losses import LossConfig
from trainables.regressor.optimization.freezing import FreezeConfig
from trainables.regressor.optimization.optimizers import OptimizerConfig
from trainables.regressor.optimization.prior_decay import PriorDecayConfig
from trainables.regressor.optimization.schedule import ScheduleConfig
from trainables.regressor.pooling import MeanPooling, PoolingConfig


class Config(StrictConfig):
    """The defaults are near FB3's public baseline: mean-pooled DeBERTa-v3-base, cross-validated at .454."""

    backbone: BackboneConfig = Field(default=BackboneConfig(), description="the pretrained encoder")
    text: TextConfig = Field(default=TextConfig(), description="how an essay becomes tokens")
    pooling: PoolingConfig = Field(
        default=MeanPooling.Config(),
        description="how the encoder's hidden states become one vector per essay",
    )
    head: HeadConfig = Field(default=HeadConfig(), description="from that vector to the scores")
    reinit: ReinitConfig = Field(default=ReinitConfig(), description="top layers that start from random weights")
    freeze: FreezeConfig = Field(default=FreezeConfig(), description="what keeps its pretrained weights")
    optimizer: OptimizerConfig = Field(default=OptimizerConfig(), description="the optimiser and its learning rates")
    schedule: ScheduleConfig = Field(default=ScheduleConfig(), description="the learning rate over a fit")
    mixout: or_off(MixoutConfig) = Field(  # type: ignore[valid-type]
        default=None,
        description="the encoder's linear layers mixed with their pretrained weights while training, or off",
    )
    prior_decay: or_off(PriorDecayConfig) = Field(  # type: ignore[valid-type]
        default=None, description="the encoder's weight decay goes towards its pretrained weights, or off (towards 0)"
    )
    loss: LossConfig = Field(default=LossConfig(), description="what training minimises")
    swa: or_off(SwaConfig) = Field(  # type: ignore[valid-type]
        default=None, description="stochastic weight averaging over the last steps, or off"
    )
    ema: or_off(EmaConfig) = Field(  # type: ignore[valid-type]
        default=None, description="an exponential moving average of the weights, or off"
    )
    soup: or_off(SoupConfig) = Field(  # type: ignore[valid-type]
        default=None, description="the average of the best evaluations' weights, or off"
    )
    adversarial: or_off(AdversarialConfig) = Field(  # type: ignore[valid-type]
        default=None, description="training against perturbed weights or embeddings, or off"
    )
    training: TrainingConfig = Field(default=TrainingConfig(), description="epochs, batches, evaluations, precision")
