"""Mixout: while training, some of each matrix's weights are the pretrained ones, others at every pass.

Lee, Cho & Kang (2020), Mixout: Effective Regularization to Finetune Large-scale Pretrained Language Models. Dropout is
mixout towards 0.
"""

from typing import Any

from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import dropout, linear

from ell_tune.config import StrictConfig
from ell_tune.errors import BadConfig


class MixoutConfig(StrictConfig):
    """How much of the encoder is pretrained at each pass."""

    p: float = Field(default=0.1, ge=0.01, le=0.95, description="the probability that a weight is the pretrained one")


class MixoutLinear(nn.Linear):
    """A linear layer with mixout: the same parameters under the same names, so its weights load into a plain one.

    In eval mode it is exactly a plain one. As in the paper's code the bias is not mixed.
    """

    def __init__(self, plain: nn.Linear, p: float) -> None:
        """Takes over the parameters of `plain`, whose weight as it is now is the pretrained one."""
        super().__init__(plain.in_features, plain.out_features, bias=plain.bias is not None, device="meta")
        self.weight = plain.weight
        self.bias = plain.bias
        self.p = p
        self._pretrained = _Shared(plain.weight.detach().clone())

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        # Where the difference is dropped, the weight is the pretrained one; the mean over masks is the weight itself.
        pretrained = self._pretrained.value
        return linear(input, pretrained + dropout(self.weight - pretrained, self.p), self.bias)


def add_mixout(module: nn.Module, config: MixoutConfig, pretrained: set[nn.Parameter]) -> None:
    """Puts a `MixoutLinear` in the place of every linear layer inside whose weight is one of `pretrained`.

    Raises:
        BadConfig: there is none.
    """
    found = [
        (name, child)
        for name, child in module.named_modules()
        if type(child) is nn.Linear and child.weight in pretrained
    ]
    if not found:
        raise BadConfig(
            "mixout: a layer whose weights are pretrained and trained on is needed, but freeze and reinit.num_layers "
            "leave none in any encoder. Freeze or re-initialise less, or set mixout to off."
        )
    for name, child in found:
        module.set_submodule(name, MixoutLinear(child, config.p))


class _Shared:
    """A constant that copies of a model share: weight averages copy the model, and need no second set of these."""

    def __init__(self, value: Tensor) -> None:
        self.value = value

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Shared":
        return self
