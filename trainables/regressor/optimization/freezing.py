"""Which parts of the encoder keep their pretrained weights, and for how long."""

import math

from pydantic import Field

from ell_tune.config import StrictConfig
from ell_tune.errors import BadConfig


class FreezeConfig(StrictConfig):
    """What keeps its pretrained weights."""

    embeddings: bool = Field(default=False, description="freeze the embeddings, relative positions included")
    num_layers: int = Field(default=0, ge=0, le=48, description="freeze the encoder's bottom so many layers")
    encoder: bool = Field(default=False, description="freeze the whole encoder: only pooling and head are trained")
    keep_states: bool = Field(
        default=True,
        description="keep what frozen layers say of each essay in files that all fits on a machine share",
    )
    num_epochs: int | None = Field(
        default=None,
        ge=1,
        le=50,
        description="for so many epochs from the start; null, or as many as training.num_epochs, for the whole fit; "
        "where nothing is frozen it says nothing",
    )

    def epochs(self, depth: int) -> float:
        """For how many epochs the encoder's part at `depth` (0 for embeddings) is frozen: 0 for never, or infinity."""
        is_frozen = self.encoder or (self.embeddings if depth == 0 else depth <= self.num_layers)
        return 0.0 if not is_frozen else math.inf if self.num_epochs is None else float(self.num_epochs)


def check_layers(freeze: FreezeConfig, reinit_num_layers: int, num_layers: int | None) -> None:
    """Refuses to freeze or reinitialise layers that the backbone does not have, or the same layer twice.

    `num_layers` is the backbone's, None where it is not known yet.

    Raises:
        BadConfig: the two add up to more than the backbone's layers.
    """
    if freeze.encoder and reinit_num_layers:
        raise BadConfig(
            f"freeze.encoder: a layer of random weights must not be frozen, but reinit.num_layers is "
            f"{reinit_num_layers}. Set it to 0, or freeze bottom layers alone (freeze.num_layers)."
        )
    if num_layers is not None and freeze.num_layers + reinit_num_layers > num_layers:
        raise BadConfig(
            f"freeze.num_layers: with reinit.num_layers it is at most the backbone's number of layers, which "
            f"is {num_layers}, for a layer of random weights must not be frozen; but freeze.num_layers is "
            f"{freeze.num_layers} and reinit.num_layers is {reinit_num_layers}. Lower one of them."
        )
