"""Every hyperparameter of the regressor: the configs of its parts, each declared beside what it steers."""

from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import Field, model_validator

from ell_tune.config import Contradiction, StrictConfig, or_off
from ell_tune.errors import BadConfig
from trainables.regressor.averaging.averages import EmaConfig, SwaConfig
from trainables.regressor.averaging.soup import SoupConfig
from trainables.regressor.encoder.backbone import BackboneConfig
from trainables.regressor.encoder.mixout import MixoutConfig
from trainables.regressor.encoder.reinit import ReinitConfig
from trainables.regressor.essays.text import TextConfig
from trainables.regressor.fit.adversarial import AdversarialConfig, FgmConfig
from trainables.regressor.fit.plan import TrainingConfig
from trainables.regressor.fit.pseudo_plan import PseudoConfig
from trainables.regressor.head import HeadConfig
from trainables.regressor.losses import LossConfig, check_batch_size
from trainables.regressor.optimization.encoder_rates import EncoderRatesConfig
from trainables.regressor.optimization.freezing import FreezeConfig, check_layers
from trainables.regressor.optimization.optimizers import OptimizerConfig
from trainables.regressor.optimization.prior_decay import PriorDecayConfig
from trainables.regressor.optimization.schedule import ScheduleConfig
from trainables.regressor.pooling import MeanPooling, PoolingConfig
from trainables.regressor.pooling.base import Sizes, check_num_layers


@contextmanager
def _told_early(note: str = "") -> Iterator[None]:
    """Inside, what a fit would refuse as a bad config is refused as a contradiction within the config."""
    try:
        yield
    except BadConfig as error:
        path, _, reason = str(error).partition(": ")
        raise Contradiction(path, reason + note) from None


class EncoderConfig(StrictConfig):
    """One encoder: what it reads, what is taken from it, what of it is trained and how fast."""

    backbone: BackboneConfig = Field(default=BackboneConfig(), description="the pretrained encoder")
    text: TextConfig = Field(default=TextConfig(), description="how an essay becomes tokens")
    pooling: PoolingConfig = Field(
        default=MeanPooling.Config(),
        description="how the encoder's hidden states become one vector per essay",
    )
    reinit: ReinitConfig = Field(default=ReinitConfig(), description="top layers that start from random weights")
    freeze: FreezeConfig = Field(default=FreezeConfig(), description="what keeps its pretrained weights")
    optimizer: EncoderRatesConfig = Field(default=EncoderRatesConfig(), description="the encoder's learning rates")

    @model_validator(mode="after")
    def _fits_its_depth(self) -> "EncoderConfig":
        num_layers = self.backbone.num_layers
        with _told_early():
            check_layers(self.freeze, self.reinit.num_layers, None)
        if num_layers is not None:  # else it is known when the backbone is read
            with _told_early(f" Here backbone.num_layers is {num_layers}."):
                check_layers(self.freeze, self.reinit.num_layers, num_layers)
                check_num_layers(getattr(self.pooling, "num_layers", 1), Sizes(1, num_layers, 1))
                self.optimizer.layer_rates.factor(0, num_layers)
        return self

    def trains_pretrained(self, num_epochs: int) -> bool:
        """Whether any of its pretrained matrices is trained in the last of `num_epochs`, as far as can be told here."""
        return self.freeze.epochs(0) < num_epochs or self.trains_pretrained_layer(num_epochs)

    def trains_pretrained_layer(self, num_epochs: int) -> bool:
        """The same of its layers alone, without the embeddings."""
        depth = self.backbone.num_layers
        if depth is None:
            return not self.freeze.encoder or self.freeze.epochs(1) < num_epochs
        top = depth - self.reinit.num_layers
        return top > 0 and self.freeze.epochs(top) < num_epochs


class Config(EncoderConfig):
    """The defaults are near FB3's public baseline: mean-pooled DeBERTa-v3-base, cross-validated at .454.

    Further encoders are fields and no list, as in `trainables.frozen_features`, and for the same reason: each has its
    dotted paths (`second.freeze.num_layers`) and can be switched `off` by itself.
    """

    second: or_off(EncoderConfig) = Field(  # type: ignore[valid-type]
        default=None, description="another encoder, whose pooled vector stands after the first one's, or off"
    )
    third: or_off(EncoderConfig) = Field(  # type: ignore[valid-type]
        default=None, description="one more encoder, whose pooled vector stands last, or off"
    )
    head: HeadConfig = Field(default=HeadConfig(), description="from the pooled vectors to the scores")
    optimizer: OptimizerConfig = Field(default=OptimizerConfig(), description="the optimiser and its learning rates")
    schedule: ScheduleConfig = Field(default=ScheduleConfig(), description="the learning rate over a fit")
    mixout: or_off(MixoutConfig) = Field(  # type: ignore[valid-type]
        default=None,
        description="the encoders' linear layers mixed with their pretrained weights while training, or off",
    )
    prior_decay: or_off(PriorDecayConfig) = Field(  # type: ignore[valid-type]
        default=None, description="the encoders' weight decay goes towards their pretrained weights, or off (towards 0)"
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
    pseudo: or_off(PseudoConfig) = Field(  # type: ignore[valid-type]
        default=PseudoConfig(), description="pre-training on pseudo-labels where the run has any (--pseudo), or off"
    )
    training: TrainingConfig = Field(default=TrainingConfig(), description="epochs, batches, evaluations, precision")

    @model_validator(mode="after")
    def _soup_has_ingredients(self) -> "Config":
        if self.soup is not None and self.training.evaluations == 1:
            raise Contradiction(
                "soup",
                "the weights of at least two evaluations are averaged, but training.evaluations is 1. Raise it, or set "
                "soup to off.",
            )
        return self

    @model_validator(mode="after")
    def _batches_have_an_order(self) -> "Config":
        with _told_early():
            check_batch_size(self.loss, self.training.batch_size)
        return self

    @model_validator(mode="after")
    def _something_pretrained_is_trained(self) -> "Config":
        num_epochs, encoders = self.training.num_epochs, self.encoders.values()
        trains = {
            "mixout": any(encoder.trains_pretrained_layer(num_epochs) for encoder in encoders),
            "prior_decay": any(encoder.trains_pretrained(num_epochs) for encoder in encoders),
        }
        for name, is_possible in trains.items():
            if getattr(self, name) is not None and not is_possible:
                fields = "freeze.encoder leaves" if self.freeze.encoder else "freeze and reinit.num_layers leave"
                raise Contradiction(
                    name,
                    f"{'layers' if name == 'mixout' else 'weights'} that are pretrained and trained on are needed, but "
                    f"{fields} none for all of training.num_epochs={num_epochs}. Freeze less, or set {name} to off.",
                )
        return self

    @model_validator(mode="after")
    def _perturbed_embeddings_are_trained(self) -> "Config":
        num_epochs, freezes = self.training.num_epochs, {name: each.freeze for name, each in self.encoders.items()}
        if isinstance(self.adversarial, FgmConfig) and all(each.epochs(0) >= num_epochs for each in freezes.values()):
            fields = [
                f"{path_of(encoder)}freeze.{name}"
                for encoder, freeze in freezes.items()
                for name in ("encoder", "embeddings")
                if getattr(freeze, name)
            ]
            wrong = " and ".join(fields) if len(freezes) == 1 else "those of one encoder"
            raise Contradiction(
                "adversarial",
                f"fgm perturbs the word embeddings along their gradient, so they must be trained, but they are frozen "
                f"for all of training.num_epochs={num_epochs} by {' and '.join(fields)}. Set {wrong} to false, or "
                f"choose awp or sift.",
            )
        return self

    @property
    def encoders(self) -> dict[str, EncoderConfig]:
        """The encoders that take part by their names, in the order of their vectors; the first is the config itself."""
        named = {"first": self, "second": self.second, "third": self.third}
        return {name: encoder for name, encoder in named.items() if encoder is not None}


def path_of(encoder: str) -> str:
    """What a dotted path into the encoder of that name begins with."""
    return "" if encoder == "first" else f"{encoder}."
