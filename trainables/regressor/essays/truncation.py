"""Which tokens of an essay are kept where it is too long."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ell_tune.config import StrictConfig, one_of


class HeadTruncation(StrictConfig):
    """An essay that is too long loses its end."""

    name: Literal["head"] = "head"


class HeadTailTruncation(StrictConfig):
    """An essay that is too long loses its middle.

    Sun et al. (2019), How to Fine-Tune BERT for Text Classification.
    """

    name: Literal["head_tail"] = "head_tail"
    head_frac: float = Field(
        default=0.5, ge=0.0, le=1.0, description="the beginning's share of the kept tokens; the end has the rest"
    )


Truncation = one_of(HeadTruncation, HeadTailTruncation)


def kept_tokens(config: HeadTruncation | HeadTailTruncation, num_tokens: int, room: int) -> NDArray[np.int64]:
    """The indices of the tokens to keep, in order: all of `num_tokens`, or `room` of them."""
    kept = np.arange(num_tokens)
    num_left_out = num_tokens - room
    if num_left_out <= 0:
        return kept
    num_head = round(config.head_frac * room) if isinstance(config, HeadTailTruncation) else room
    return np.concatenate([kept[:num_head], kept[num_head + num_left_out :]])
