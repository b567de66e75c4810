"""Poolings: from an encoder's hidden states to one vector per essay, or one per essay and target.

A pooling is one class with its `Config`; a new one is written in a file here and added to `_POOLINGS`.
"""

from ell_tune.config import StrictConfig, one_of
from trainables.regressor.pooling.attention import AttentionMeanPooling, AttentionPooling
from trainables.regressor.pooling.base import Pooling, Sizes
from trainables.regressor.pooling.convolution import Conv1dPooling
from trainables.regressor.pooling.layers import (
    ConcatLastPooling,
    DepthAttentionPooling,
    MeanLastPooling,
    WeightedLayersPooling,
)
from trainables.regressor.pooling.per_target import PerTargetPooling
from trainables.regressor.pooling.recurrent import LstmPooling, TokenLstmPooling
from trainables.regressor.pooling.structure import MultiscalePooling
from trainables.regressor.pooling.tokens import (
    ClsPooling,
    GemPooling,
    MaxPooling,
    MeanMaxClsPooling,
    MeanMaxMinPooling,
    MeanMaxPooling,
    MeanPooling,
    MinPooling,
)

__all__ = ["MeanPooling", "Pooling", "PoolingConfig", "make_pooling"]

_POOLINGS: tuple[type[Pooling], ...] = (
    MeanPooling,
    ClsPooling,
    MaxPooling,
    MinPooling,
    MeanMaxPooling,
    MeanMaxMinPooling,
    MeanMaxClsPooling,
    AttentionPooling,
    AttentionMeanPooling,
    GemPooling,
    WeightedLayersPooling,
    ConcatLastPooling,
    MeanLastPooling,
    LstmPooling,
    DepthAttentionPooling,
    TokenLstmPooling,
    Conv1dPooling,
    MultiscalePooling,
    PerTargetPooling,
)
_BY_CONFIG = {pooling.Config: pooling for pooling in _POOLINGS}

PoolingConfig = one_of(*_BY_CONFIG)


def make_pooling(config: StrictConfig, hidden_size: int, num_layers: int, num_targets: int) -> Pooling:
    """The pooling that a config asks for, for an encoder of `num_layers` layers of width `hidden_size`.

    Raises:
        BadConfig: the config asks for more layers than the encoder has.
    """
    return _BY_CONFIG[type(config)](config, Sizes(hidden_size, num_layers, num_targets))
