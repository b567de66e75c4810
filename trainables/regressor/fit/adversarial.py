"""Adversarial training: a window's gradient where weights, word embeddings or embedded essays are a little worse.

A method comes after a window's first backward pass and before the optimiser step: it needs that pass's gradients. Only
what is trained is moved, and moved back bit for bit. Only the direction of a gradient matters, not its size, so that
float16's loss scaling needs no undoing here.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, Protocol

import torch
from pydantic import Field
from torch import Tensor, nn

from ell_tune.config import StrictConfig, one_of
from trainables.regressor.encoder.pooled_encoder import PooledEncoder
from trainables.regressor.losses import Loss
from trainables.regressor.model import Regressor
from trainables.regressor.optimization.schedule import first_step

# A loss on top of a micro-batch's own, summed over essays and targets, from: the forward pass on the micro-batch, the
# scores [B, C] that it gave before, and the scaling of losses that keeps float16's gradients above 0.
PerturbedLoss = Callable[[Callable[[], Tensor], Tensor, Callable[[Tensor], Tensor]], Tensor]


class AccumulateGradients(Protocol):
    """Forward and backward over all micro-batches of a window: adds to the gradients; the loss, and the tokens."""

    def __call__(self, perturbed_loss: PerturbedLoss | None = None) -> tuple[Tensor, int]: ...


class AwpConfig(StrictConfig):
    """Adversarial weight perturbation."""

    name: Literal["awp"] = "awp"
    lr: float = Field(
        default=1e-4, ge=1e-6, le=1.0, description="how far each matrix moves, as a fraction of its own norm"
    )
    eps: float = Field(
        default=1e-3, ge=1e-5, le=1.0, description="no weight moves further than this fraction of itself"
    )
    start_frac: float = Field(
        default=0.25, ge=0.0, le=0.99, description="the fraction of all steps after which it starts"
    )


class FgmConfig(StrictConfig):
    """The fast gradient method on the word embeddings."""

    name: Literal["fgm"] = "fgm"
    eps: float = Field(default=0.25, ge=1e-3, le=10.0, description="how far the word embeddings move, in L2 norm")
    start_frac: float = Field(
        default=0.0, ge=0.0, le=0.99, description="the fraction of all steps after which it starts"
    )


class SiftConfig(StrictConfig):
    """Scale-invariant fine-tuning."""

    name: Literal["sift"] = "sift"
    lr: float = Field(
        default=1e-4, ge=1e-6, le=1.0, description="how far the perturbation's largest number moves up the gradient"
    )
    init: float = Field(default=1e-2, ge=1e-5, le=1.0, description="the standard deviation of the random perturbation")
    start_frac: float = Field(
        default=0.5, ge=0.0, le=0.99, description="the fraction of all steps after which it starts"
    )


AdversarialConfig = one_of(AwpConfig, FgmConfig, SiftConfig)


class Adversary(ABC):
    """One way to train against perturbations, from `start_step` (from 0) on."""

    start_step: int

    @abstractmethod
    def accumulate(self, accumulate: AccumulateGradients) -> tuple[Tensor, int]:
        """Leaves a window's gradients, given how to compute the plain ones; the plain loss, and the tokens."""


def make_adversary(
    config: AwpConfig | FgmConfig | SiftConfig | None, model: Regressor, loss: Loss, num_steps: int
) -> Adversary | None:
    """The method that a config asks for, on a model whose frozen parameters are frozen already, and its loss."""
    match config:
        case None:
            return None
        case AwpConfig():
            return Awp(config, [*model.parameters(), *loss.parameters()], num_steps)
        case FgmConfig():
            return Fgm(config, model, num_steps)
        case SiftConfig():
            return Sift(config, model, num_steps)


class Awp(Adversary):
    """Trains on the gradient at weights moved up the loss, relative to their norm: the plain gradient only leads there.

    Wu et al. (2020), Adversarial Weight Perturbation Helps Robust Generalization, in the form of FB3: one step, and a
    bound for each weight (9th place 1e-4/1e-3, 7th 1e-4/1e-2). As in the paper, vectors (biases, LayerNorms) stay, and
    the update is the gradient of the perturbed loss alone. Takes another copy of the trained matrices in memory.
    """

    def __init__(self, config: AwpConfig, parameters: Sequence[nn.Parameter], num_steps: int) -> None:
        """`parameters` are all that get a gradient, the loss's own too: its plain gradient must not be left on any."""
        self.start_step = first_step(config.start_frac, num_steps)
        self._config = config
        self._parameters = parameters

    def accumulate(self, accumulate: AccumulateGradients) -> tuple[Tensor, int]:
        loss, num_tokens = accumulate()
        matrices = [p for p in self._parameters if p.grad is not None and p.ndim >= 2]
        assert matrices  # before a backward pass, or after zero_grad, this method would silently do nothing
        with moved(matrices, self._displacement):
            for parameter in self._parameters:
                parameter.grad = None
            accumulate()
        return loss, num_tokens

    def _displacement(self, weight: Tensor, gradient: Tensor) -> Tensor:
        step = self._config.lr * weight.norm() * gradient / gradient.norm()
        bound = self._config.eps * weight.abs()
        return step.clamp(-bound, bound)


class Fgm(Adversary):
    """Adds the gradient at word embeddings moved by `eps` along their gradient.

    Miyato et al. (2017), Adversarial Training Methods for Semi-Supervised Text Classification, in the form of FB3: the
    norm is that of the whole matrix's gradient, in which only the rows of the window's tokens are not 0. Each encoder's
    embeddings move by `eps`. The update is the gradient of both losses, also for the parameters of a learned loss.
    """

    def __init__(self, config: FgmConfig, model: Regressor, num_steps: int) -> None:
        self.start_step = first_step(config.start_frac, num_steps)
        self._eps = config.eps
        self._weights = [_word_embeddings(encoder) for encoder in model.encoders.values()]
        assert any(weight_VD.requires_grad for weight_VD in self._weights)  # or the config is refused

    def accumulate(self, accumulate: AccumulateGradients) -> tuple[Tensor, int]:
        loss, num_tokens = accumulate()
        trained = [weight_VD for weight_VD in self._weights if weight_VD.grad is not None]
        if not trained:  # frozen for the first epochs
            return loss, num_tokens
        with moved(trained, lambda _, gradient: self._eps * gradient / gradient.norm()):
            accumulate()
        return loss, num_tokens


class Sift(Adversary):
    """Adds the loss between an essay's scores with clean and with perturbed embeddings, which are normalised first.

    He et al. (2021), DeBERTa: Decoding-enhanced BERT with Disentangled Attention, section 5, and its published code: a
    random perturbation takes one step up that loss, of which each token's largest number is `lr`. Embeddings differ in
    norm from word to word and model to model; normalised (LayerNorm without weights) one size of perturbation fits all.
    The embeddings' own LayerNorm comes after it. For scores, which are no distribution, the loss is the squared error.
    The perturbed pass teaches the embeddings nothing, so they may be frozen. Three forward passes instead of one.
    """

    def __init__(self, config: SiftConfig, model: Regressor, num_steps: int) -> None:
        self.start_step = first_step(config.start_frac, num_steps)
        self._config = config
        self._layer_norms = [
            encoder.backbone.get_submodule("embeddings.LayerNorm") for encoder in model.encoders.values()
        ]

    def accumulate(self, accumulate: AccumulateGradients) -> tuple[Tensor, int]:
        return accumulate(self._perturbed_loss)

    def _perturbed_loss(
        self, score_micro_batch: Callable[[], Tensor], clean_BC: Tensor, scale: Callable[[Tensor], Tensor]
    ) -> Tensor:
        deltas: dict[nn.Module, Tensor] = {}  # [B, T, D] of each encoder

        def perturb(layer_norm: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
            normal_BTD = nn.functional.layer_norm(inputs[0].detach().float(), inputs[0].shape[-1:])
            if layer_norm not in deltas:
                limit = 2 * self._config.init
                noise_BTD = self._config.init * torch.randn_like(normal_BTD)
                deltas[layer_norm] = noise_BTD.clamp(-limit, limit).requires_grad_()
            return ((normal_BTD + deltas[layer_norm]).to(inputs[0].dtype),)

        hooks = [layer_norm.register_forward_pre_hook(perturb) for layer_norm in self._layer_norms]
        try:
            loss = _squared_error(score_micro_batch(), clean_BC)
            gradients = torch.autograd.grad(scale(loss), list(deltas.values()))
            for (layer_norm, delta_BTD), gradient_BTD in zip(list(deltas.items()), gradients, strict=True):
                step_BTD = gradient_BTD / gradient_BTD.abs().amax(dim=-1, keepdim=True)
                deltas[layer_norm] = delta_BTD.detach() + self._config.lr * _zero_where_undefined(step_BTD)
            return _squared_error(score_micro_batch(), clean_BC)
        finally:
            for hook in hooks:
                hook.remove()


@contextmanager
def moved(parameters: Iterable[Tensor], displacement: Callable[[Tensor, Tensor], Tensor]) -> Iterator[None]:
    """Inside, each parameter is off by `displacement(weight, gradient)`; afterwards it has its old bits again.

    Where a gradient is 0 everywhere, or overflowed in float16, there is no direction, and nothing moves.
    """
    originals = []
    try:
        with torch.no_grad():
            for parameter in parameters:
                assert parameter.grad is not None
                originals.append((parameter, parameter.detach().clone()))
                parameter.add_(_zero_where_undefined(displacement(parameter, parameter.grad)))
        yield
    finally:
        with torch.no_grad():
            for parameter, original in originals:
                parameter.copy_(original)


def _zero_where_undefined(step: Tensor) -> Tensor:
    return step.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)


def _squared_error(score_BC: Tensor, clean_BC: Tensor) -> Tensor:
    return nn.functional.mse_loss(score_BC, clean_BC, reduction="sum")


def _word_embeddings(encoder: PooledEncoder) -> Tensor:
    embeddings = encoder.backbone.get_input_embeddings()
    assert isinstance(embeddings, nn.Embedding)
    return embeddings.weight
