"""Every hyperparameter of the frozen features and of what is fitted on them."""

from pydantic import Field

from ell_tune.config import StrictConfig, or_off
from trainables.frozen_features.encoding import EncoderConfig
from trainables.frozen_features.estimators import EstimatorConfig, SvrConfig
from trainables.frozen_features.scaling import ScalingName


class Config(StrictConfig):
    """The defaults are near RAPIDS SVR, with one encoder instead of five.

    The encoders are three fields and no list: a search names what it searches by a dotted path, and there is no
    dotted path into a list. So each has a path of its own (`second.layers`), can be switched `off` by itself
    (which makes a search a selection of models), and has the same features however many others there are.
    """

    encoder: EncoderConfig = Field(default=EncoderConfig(), description="the first encoder")
    second: or_off(EncoderConfig) = Field(  # type: ignore[valid-type]
        default=None, description="another encoder, whose features stand after the first one's, or off"
    )
    third: or_off(EncoderConfig) = Field(  # type: ignore[valid-type]
        default=None, description="one more encoder, whose features stand last, or off"
    )
    scaling: ScalingName = Field(
        default="l2",
        description="l2: each encoder's vector gets length 1; standard: each feature gets deviation 1; none: neither",
    )
    estimator: EstimatorConfig = Field(
        default=SvrConfig(), description="what is fitted on the features, for each target alone"
    )

    @property
    def encoders(self) -> dict[str, EncoderConfig]:
        """The encoders that take part by the name of their field, in the order of their features."""
        fields = {"encoder": self.encoder, "second": self.second, "third": self.third}
        return {field: encoder for field, encoder in fields.items() if encoder is not None}
