"""How the matrix of a linear map may be drawn, other than from the architecture's own normal distribution."""

from collections.abc import Callable, Mapping

from torch import Tensor, nn

# Glorot & Bengio (2010); He et al. (2015), for ReLU; Saxe et al. (2014).
DRAW_MATRIX: Mapping[str, Callable[[Tensor], Tensor]] = {
    "xavier": nn.init.xavier_uniform_,
    "kaiming": nn.init.kaiming_normal_,
    "orthogonal": nn.init.orthogonal_,
}
