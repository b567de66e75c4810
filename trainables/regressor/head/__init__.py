"""From pooled features to scores: a linear map, and what may stand before and behind it."""

from trainables.regressor.head.head import Head, HeadConfig

__all__ = ["Head", "HeadConfig"]
