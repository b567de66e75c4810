"""A regressor built from a whole config."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel

from ell_tune.errors import told_under
from trainables.regressor.config import Config, path_of
from trainables.regressor.encoder.backbone import empty_backbone, load_backbone
from trainables.regressor.encoder.layers import encoder_layers
from trainables.regressor.encoder.pooled_encoder import PooledEncoder
from trainables.regressor.encoder.reinit import reinitialise_top_layers
from trainables.regressor.essays.text import TokenisedEssays
from trainables.regressor.model import Regressor
from trainables.regressor.optimization.freezing import check_layers
from trainables.regressor.pooling import make_pooling


def build_regressor(
    config: Config,
    essays: Mapping[str, TokenisedEssays],
    target_means_C: Tensor,
    score_range: tuple[float, float],
    seed: int,
) -> Regressor:
    """The model before its first step: pretrained encoders, and what is random drawn with `seed`.

    Args:
        config: of the whole regressor.
        essays: as each encoder reads them, by its name.
        target_means_C: what a model without features would say.
        score_range: what a bounded head is bounded to.
        seed: of all that is drawn.

    Raises:
        BadConfig: a backbone cannot be had, or the config does not fit its depth or number of positions.
    """
    backbones = {}
    for name, encoder in config.encoders.items():
        read = essays[name]
        with told_under(path_of(name)):
            backbones[name] = load_backbone(encoder.backbone, read.vocab_size, read.added_token_ids, read.max_length)
            check_layers(encoder.freeze, encoder.reinit.num_layers, len(encoder_layers(backbones[name])))
    torch.manual_seed(seed)
    for name, encoder in config.encoders.items():
        reinitialise_top_layers(backbones[name], encoder.reinit)
    return _assembled(config, backbones, target_means_C, score_range)


def empty_regressor(
    config: Config, folders: Mapping[str, Path], target_means_C: Tensor, score_range: tuple[float, float]
) -> Regressor:
    """A model whose weights are still to be loaded, each encoder with the architecture in its folder/config.json.

    Raises:
        BadConfig: the config does not fit a backbone's depth.
    """
    backbones = {}
    for name, encoder in config.encoders.items():
        with told_under(path_of(name)):
            backbones[name] = empty_backbone(encoder.backbone, folders[name])
            check_layers(encoder.freeze, encoder.reinit.num_layers, len(encoder_layers(backbones[name])))
    return _assembled(config, backbones, target_means_C, score_range)


def _assembled(
    config: Config,
    backbones: Mapping[str, PreTrainedModel],
    target_means_C: Tensor,
    score_range: tuple[float, float],
) -> Regressor:
    encoders = {}
    for name, encoder in config.encoders.items():
        backbone = backbones[name]
        num_layers, num_targets = len(encoder_layers(backbone)), len(target_means_C)
        with told_under(path_of(name)):
            pooling = make_pooling(encoder.pooling, backbone.config.hidden_size, num_layers, num_targets)
        encoders[name] = PooledEncoder(backbone, pooling)
    return Regressor(encoders, config.head, target_means_C, score_range)
