"""The optimisers, and what each part of the model learns at."""

import importlib
from abc import ABC, abstractmethod
from typing import Any, Literal

import torch
from pydantic import Field
from transformers.optimization import Adafactor

from ell_tune.config import StrictConfig, one_of, or_off
from ell_tune.errors import BadConfig
from trainables.regressor.optimization.encoder_rates import EncoderRatesConfig

ParameterGroups = list[dict[str, Any]]  # each with its own `lr` and `weight_decay`


class Algorithm(StrictConfig, ABC):
    """An optimiser without its learning rates."""

    @abstractmethod
    def make(self, groups: ParameterGroups) -> torch.optim.Optimizer:
        """The optimiser of these groups."""


class _Adam(Algorithm, ABC):
    """Adam's own numbers.

    Its moments are always corrected for starting at 0. BERT's own Adam, which is not, is a known cause of failed
    fine-tuning and so no choice here (Zhang et al., 2021, Revisiting Few-sample BERT Fine-tuning).
    """

    beta1: float = Field(default=0.9, ge=0.0, le=0.999, description="how much of the gradient's mean a step keeps")
    beta2: float = Field(default=0.999, ge=0.5, le=0.99999, description="how much of its mean square a step keeps")
    eps: float = Field(default=1e-6, ge=1e-10, le=1e-3, description="added to the root of the mean square")


class AdamW(_Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter, 2019).

    Fused: one pass over each parameter, without temporary tensors as large as the embeddings.
    """

    name: Literal["adamw"] = "adamw"

    def make(self, groups: ParameterGroups) -> torch.optim.Optimizer:
        return torch.optim.AdamW(groups, betas=(self.beta1, self.beta2), eps=self.eps, fused=True)


class AdamW8bit(_Adam):
    """AdamW with its two moments in 8 bits, by bitsandbytes (Dettmers et al., 2022): a quarter of their memory.

    Tensors of fewer than 4096 numbers keep 32 bits. It needs an NVIDIA GPU.
    """

    name: Literal["adamw_8bit"] = "adamw_8bit"

    def make(self, groups: ParameterGroups) -> torch.optim.Optimizer:
        bitsandbytes = _bitsandbytes(self.name)
        if any(parameter.device.type == "cpu" for group in groups for parameter in group["params"]):
            raise BadConfig(
                "optimizer.algorithm: adamw_8bit needs a GPU, because bitsandbytes has no 8-bit step for a CPU, "
                "but the model is on the CPU. Run on a GPU, or choose adamw or adafactor."
            )
        optimizer: torch.optim.Optimizer = bitsandbytes.optim.AdamW8bit(
            groups, betas=(self.beta1, self.beta2), eps=self.eps
        )
        return optimizer


class Lion(Algorithm):
    """The sign of a mean of gradients, with decoupled weight decay (Chen et al., 2023), by bitsandbytes.

    Half of AdamW's state. Every number moves by the whole rate at each step, so rates are 3 to 10 times smaller than
    AdamW's, and weight decay as many times larger.
    """

    name: Literal["lion"] = "lion"
    beta1: float = Field(default=0.9, ge=0.0, le=0.999, description="how much of the mean the step's direction keeps")
    beta2: float = Field(default=0.99, ge=0.5, le=0.99999, description="how much of itself the mean keeps")

    def make(self, groups: ParameterGroups) -> torch.optim.Optimizer:
        optimizer: torch.optim.Optimizer = _bitsandbytes(self.name).optim.Lion(groups, betas=(self.beta1, self.beta2))
        return optimizer


def _bitsandbytes(algorithm: str) -> Any:
    try:
        return importlib.import_module("bitsandbytes")
    except ImportError as error:
        raise BadConfig(
            f"optimizer.algorithm: {algorithm} needs the package bitsandbytes, which cannot be imported here "
            f"({error}). Install it with `pip install 'ell-tune[gpu]'`, or choose adamw or adafactor."
        ) from None


class AdafactorAlgorithm(Algorithm):
    """Adafactor (Shazeer & Stern, 2018), by transformers: a matrix keeps a number per row and column, no momentum.

    Learning rates are absolute, as AdamW's. (torch's own Adafactor multiplies them by each parameter's size.)
    """

    name: Literal["adafactor"] = "adafactor"
    clip_threshold: float = Field(
        default=1.0, ge=0.1, le=10.0, description="the largest root mean square of a tensor's update, before its rate"
    )
    decay_exponent: float = Field(
        default=0.8, ge=0.5, le=1.0, description="a step t keeps 1 − t^−this of the mean square"
    )

    def make(self, groups: ParameterGroups) -> torch.optim.Optimizer:
        return Adafactor(
            groups,
            clip_threshold=self.clip_threshold,
            decay_rate=-self.decay_exponent,
            scale_parameter=False,
            relative_step=False,
        )


class OptimizerConfig(EncoderRatesConfig):
    """The optimiser, and the learning rate and weight decay of each part of the model."""

    algorithm: one_of(AdamW, AdamW8bit, AdafactorAlgorithm, Lion) = Field(  # type: ignore[valid-type]
        default=AdamW(), description="what makes a step of a gradient"
    )
    head_lr: float = Field(default=2e-5, ge=1e-7, le=1e-1, description="the peak learning rate of pooling and head")
    weight_decay: float = Field(default=0.01, ge=0.0, le=1.0, description="decoupled weight decay of matrices")
    clip_norm: or_off(float) = Field(  # type: ignore[valid-type]
        default=None,
        ge=0.01,
        le=1000.0,
        description="the gradient's largest norm over all parameters, or off",
    )


def make_optimizer(algorithm: Algorithm, groups: ParameterGroups) -> torch.optim.Optimizer:
    """The optimiser of groups with their own peak `lr`, which is remembered as `initial_lr`.

    Raises:
        BadConfig: it needs a package or a device that is not here.
    """
    return algorithm.make([{**group, "initial_lr": group["lr"]} for group in groups])
