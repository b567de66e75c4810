"""Poolings: from an encoder's hidden states to one vector per essay.

A pooling is one class with its `Config`; a new one is written in a file here and added to `_POOLINGS`.
"""

from ell_tune.config import StrictConfig, one_of
from trainables.regressor.pooling.base import Pooling
from trainables.regressor.pooling.layers import ConcatLastPooling, LstmPooling, WeightedLayersPooling
from trainables.regressor.pooling.tokens import (
    AttentionPooling,
    ClsPooling,
    GemPooling,
    MaxPooling,
    MeanMaxPooling,
    MeanPooling,
)

__all__ = ["MeanPooling", "Pooling", "PoolingConfig", "make_pooling"]

_POOLINGS: tuple[type[Pooling], ...] = (
    MeanPooling,
    ClsPooling,
    MaxPooling,
    MeanMaxPooling,
    AttentionPooling,
    GemPooling,
    WeightedLayersPooling,
    ConcatLastPooling,
    LstmPooling,
)
_BY_CONFIG = {pooling.Config: pooling for pooling in _POOLINGS}

PoolingConfig = one_of(*_BY_CONFIG)


def make_pooling(config: StrictConfig, hidden_size: int, num_layers: int) -> Pooling:
    """The pooling that a config asks for, for an encoder of `num_layers` layers of width `hidden_size`.

    Raises:
        BadConfig: the config asks for more layers than the encoder has.
    """
    return _BY_CONFIG[type(config)](config, hidden_size, num_layers)
