"""The head's first weights."""

from typing import Literal

from torch import nn

from trainables.regressor.initialisers import DRAW_MATRIX

HeadInit = Literal["normal", "xavier", "kaiming", "orthogonal", "zeros"]


def draw_weights(hidden: nn.Module, output: nn.Linear, init: HeadInit, normal_std: float) -> None:
    """Draws every linear map of a head, those inside `hidden` first; biases become 0.

    `normal` is N(0, normal_std). `zeros` makes every score its target's mean: the final map is 0, the hidden ones are
    drawn as with `normal`, for behind hidden maps of 0 nothing would ever get a gradient.
    """
    for module in [*hidden.modules(), output]:
        if isinstance(module, nn.Linear):
            if init in DRAW_MATRIX:
                DRAW_MATRIX[init](module.weight)
            elif init == "zeros" and module is output:
                nn.init.zeros_(module.weight)
            else:
                nn.init.normal_(module.weight, std=normal_std)
            nn.init.zeros_(module.bias)
