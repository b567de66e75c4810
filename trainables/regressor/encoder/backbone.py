"""The pretrained encoder and its tokenizer: where they come from, and how they are loaded."""

import inspect
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import nn
from transformers import (
    MODEL_MAPPING,
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from ell_tune.config import StrictConfig
from ell_tune.errors import BadConfig
from trainables.regressor.encoder.backbone_folder import find_backbone_folder, one_line
from trainables.regressor.encoder.disentangled_attention import accelerate_attention
from trainables.regressor.encoder.layers import FAMILIES


class BackboneNameConfig(StrictConfig):
    """Which encoder."""

    name: str = Field(
        default="microsoft/deberta-v3-base",
        min_length=1,
        description="a Hugging Face hub name, a local folder, or package:NAME/path in a Python package",
    )


class BackboneConfig(BackboneNameConfig):
    """Which encoder, and how it is run."""

    num_layers: int | None = Field(
        default=None,
        ge=1,
        le=48,
        description="the encoder's bottom so many layers, the ones above being dropped; null for all",
    )
    dropout: float = Field(default=0.0, ge=0.0, le=0.5, description="every dropout inside the encoder")
    gradient_checkpointing: bool = Field(
        default=False,
        description="recompute activations in the backward pass: less memory, about a third slower",
    )
    fast_attention: bool = Field(
        default=True,
        description="DeBERTa-v2's and v3's attention computed in a faster way, with the same results; off for "
        "transformers' own",
    )


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """The backbone's fast tokenizer.

    Raises:
        BadConfig: the backbone cannot be found, or has no tokenizer that this version can read.
    """
    folder = find_backbone_folder(name)
    with _quiet(), _read_from(name, "a tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    assert isinstance(tokenizer, PreTrainedTokenizerBase)
    return tokenizer


def load_backbone(
    config: BackboneConfig, vocab_size: int, added_token_ids: Sequence[int], max_length: int
) -> PreTrainedModel:
    """The pretrained encoder in float32, with its dropouts set and room for the added tokens.

    An added token starts as the mean of all pretrained embeddings, so that a load is deterministic and the
    new token is no outlier.

    Args:
        vocab_size: of the tokenizer, added tokens included; 0 where none reads for it.

    Raises:
        BadConfig: it cannot be found or read, lacks weights or its tokenizer's words, is of a family that is not in
            `FAMILIES`, has fewer positions than `max_length` or fewer layers than `backbone.num_layers`, or cannot
            recompute its activations.
    """
    backbone = _load_pretrained(config)
    _check_vocabulary(backbone, config.name, vocab_size)
    _check_positions(backbone, config.name, max_length)
    _embed_added_tokens(backbone, vocab_size, added_token_ids)
    if config.fast_attention:
        accelerate_attention(backbone)
    return backbone


def empty_backbone(config: BackboneConfig, folder: Path) -> PreTrainedModel:
    """An encoder of the architecture in `folder`/config.json, its weights still to be loaded; run as `config` says.

    Raises:
        BadConfig: it cannot be read, is of a family that is not in `FAMILIES`, or has fewer layers than
            `backbone.num_layers`.
    """
    architecture = _read_architecture(config, folder)
    _drop_top_layers(architecture, config)
    with _read_from(config.name, "config.json"):
        backbone = _model_class(architecture)(architecture, **_without_pooler(architecture))
    assert isinstance(backbone, PreTrainedModel)
    if config.fast_attention:
        accelerate_attention(backbone)
    return backbone


def _load_pretrained(config: BackboneConfig) -> PreTrainedModel:
    folder = find_backbone_folder(config.name)
    architecture = _read_architecture(config, folder)
    _set_dropouts(architecture, config.dropout)
    _drop_top_layers(architecture, config)
    with _quiet(), _read_from(config.name, "config.json and weights"):
        backbone, loading = AutoModel.from_pretrained(
            folder,
            config=architecture,
            dtype=torch.float32,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # to be told of here, by name
            **_without_pooler(architecture),
        )
    misfits = sorted({*loading["missing_keys"], *(name for name, *_ in loading["mismatched_keys"])})
    if misfits:
        raise BadConfig(
            f"backbone.name: all of the encoder's weights are needed, in their sizes, but {config.name!r} lacks "
            f"{len(misfits)} of them (the first is {misfits[0]}). Its weights belong to another architecture "
            f"than its config.json; choose another backbone."
        )
    assert isinstance(backbone, PreTrainedModel)
    if config.gradient_checkpointing:
        _recompute_activations(backbone, config.name)
    return backbone


def _read_architecture(config: BackboneConfig, folder: Path) -> PreTrainedConfig:
    with _quiet(), _read_from(config.name, "config.json and weights"):
        architecture = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    if architecture.model_type not in FAMILIES:
        raise BadConfig(
            f"backbone.name: an encoder of one of the families {', '.join(FAMILIES)} (DeBERTa-v3 is a deberta-v2) is "
            f"needed, whose hidden states are known to be right here, but {config.name!r} is a "
            f"{architecture.model_type}. Choose one of those."
        )
    assert isinstance(architecture, PreTrainedConfig)
    if architecture.num_hidden_layers < 1:
        raise BadConfig(
            f"backbone.name: an encoder of at least one layer is needed, but the config.json of {config.name!r} has "
            f"num_hidden_layers {architecture.num_hidden_layers}. Copy the folder again, or choose another backbone."
        )
    return architecture


@contextmanager
def _read_from(name: str, what: str) -> Iterator[None]:
    """Inside, other libraries read a backbone's files, and whatever they make of damaged ones is told in our words."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # safetensors, pickle and the hub's client have types of their own
        raise BadConfig(
            f"backbone.name: a folder with {what} that transformers can read without running its code is needed, but "
            f"{name!r} cannot be read ({one_line(error)}). Save them there with save_pretrained(), or choose another "
            f"backbone."
        ) from None


def _recompute_activations(backbone: PreTrainedModel, name: str) -> None:
    if not backbone.supports_gradient_checkpointing:
        raise BadConfig(
            f"backbone.gradient_checkpointing: true needs a backbone that can recompute its activations, but "
            f"{name!r} is a {backbone.config.model_type}, for which transformers cannot. Set it to false, or choose "
            f"another backbone."
        )
    backbone.activation_checkpointing_enable()


def _set_dropouts(architecture: PreTrainedConfig, dropout: float) -> None:
    # Families name them differently (hidden_dropout_prob, attention_dropout, ...), all with this word.
    for name, value in architecture.to_dict().items():
        if "dropout" in name and isinstance(value, float | int):
            setattr(architecture, name, dropout)


def _drop_top_layers(architecture: PreTrainedConfig, config: BackboneConfig) -> None:
    """Sajjad et al. (2023), On the effect of dropping layers of pre-trained transformer models: top ones go first."""
    if config.num_layers is None:
        return
    num_layers = architecture.num_hidden_layers
    if config.num_layers > num_layers:
        raise BadConfig(
            f"backbone.num_layers: at most the backbone's number of layers can be kept, which is {num_layers} for "
            f"{config.name!r}, but it is {config.num_layers}. Lower it, or leave it out."
        )
    architecture.num_hidden_layers = config.num_layers


def _without_pooler(architecture: PreTrainedConfig) -> dict[str, bool]:
    """BERT-like families build a tanh pooler, which nothing here uses, unless told not to."""
    takes_it = "add_pooling_layer" in inspect.signature(_model_class(architecture)).parameters
    return {"add_pooling_layer": False} if takes_it else {}


def _model_class(architecture: PreTrainedConfig) -> Any:
    model_class = MODEL_MAPPING[type(architecture)]
    return model_class[0] if isinstance(model_class, tuple) else model_class


def _check_vocabulary(backbone: PreTrainedModel, name: str, vocab_size: int) -> None:
    """Refuses a tokenizer that lacks most words: transformers makes one of specials alone without their file."""
    num_embeddings = len(_embedding_weight(backbone))
    if 0 < vocab_size < num_embeddings / 4:
        raise BadConfig(
            f"backbone.name: a tokenizer of the model's whole vocabulary is needed, but that of {name!r} has "
            f"{vocab_size} tokens, and the model {num_embeddings}: a file of it is missing or was cut off, such as "
            f"spm.model, tokenizer.json or vocab.txt. Copy the folder again, or choose another backbone."
        )


def _check_positions(backbone: PreTrainedModel, name: str, max_length: int) -> None:
    positions = getattr(backbone.embeddings, "position_embeddings", None)
    if positions is None:
        return  # relative positions only: any length
    # RoBERTa's kin number positions from padding_idx + 1.
    first = 0 if positions.padding_idx is None else positions.padding_idx + 1
    if max_length > positions.num_embeddings - first:
        raise BadConfig(
            f"text.max_length: at most the backbone's number of positions is possible, which is "
            f"{positions.num_embeddings - first} for {name!r}, but it is {max_length}. Lower it, or choose a "
            f"backbone with relative positions (microsoft/deberta-v3-base)."
        )


@torch.no_grad()
def _embed_added_tokens(backbone: PreTrainedModel, vocab_size: int, added_token_ids: Sequence[int]) -> None:
    mean_D = _embedding_weight(backbone).mean(dim=0)
    if vocab_size > len(_embedding_weight(backbone)):
        backbone.resize_token_embeddings(vocab_size, mean_resizing=False)
    weight_VD = _embedding_weight(backbone)
    for token_id in added_token_ids:
        weight_VD[token_id] = mean_D


def _embedding_weight(backbone: PreTrainedModel) -> torch.Tensor:
    embeddings = backbone.get_input_embeddings()
    assert isinstance(embeddings, nn.Embedding)
    return embeddings.weight


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars, and no warnings about weights that are left out on purpose."""
    verbosity, had_bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.ERROR)
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if had_bars:
            transformers_logging.enable_progress_bar()
