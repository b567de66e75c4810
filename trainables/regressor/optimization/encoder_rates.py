"""The learning rates of one encoder's parts."""

from pydantic import Field

from ell_tune.config import StrictConfig
from trainables.regressor.optimization.layer_rates import DecayRates, LayerRatesConfig


class EncoderRatesConfig(StrictConfig):
    """The learning rates of one encoder's parts."""

    lr: float = Field(default=2e-5, ge=1e-7, le=1e-2, description="the peak learning rate of the encoder's top layer")
    layer_rates: LayerRatesConfig = Field(
        default=DecayRates(), description="how the rate falls from the top layer to the embeddings"
    )
    embeddings_lr: float | None = Field(
        default=None,
        ge=1e-8,
        le=1e-2,
        description="the embeddings' peak learning rate; null for that of layer_rates; says nothing where they "
        "are frozen",
    )

    def peak(self, depth: int, num_layers: int) -> float:
        """The peak rate of the encoder's part at `depth`: 0 for the embeddings, k for the k-th layer.

        Raises:
            BadConfig: the encoder has too few layers.
        """
        if depth == 0 and self.embeddings_lr is not None:
            return self.embeddings_lr
        return float(self.lr * self.layer_rates.factor(depth, num_layers))
