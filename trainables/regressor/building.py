"""A regressor built from a whole config."""

import torch
from torch import Tensor

from trainables.regressor.config import Config
from trainables.regressor.encoder.backbone import load_backbone
from trainables.regressor.encoder.layers import encoder_layers
from trainables.regressor.encoder.reinit import reinitialise_top_layers
from trainables.regressor.essays.text import TokenisedEssays
from trainables.regressor.model import Regressor
from trainables.regressor.optimization.freezing import check_layers
from trainables.regressor.pooling import make_pooling


def build_regressor(
    config: Config, essays: TokenisedEssays, target_means_C: Tensor, score_range: tuple[float, float], seed: int
) -> Regressor:
    """The model before its first step: pretrained encoder, and what is random drawn with `seed`.

    Raises:
        BadConfig: the config does not fit the backbone's depth or number of positions.
        UserError: the backbone cannot be had.
    """
    backbone = load_backbone(config.backbone, essays.vocab_size, essays.added_token_ids, essays.max_length)
    num_layers = len(encoder_layers(backbone))
    check_layers(config.freeze, config.reinit.num_layers, num_layers)
    torch.manual_seed(seed)
    reinitialise_top_layers(backbone, config.reinit)
    pooling = make_pooling(config.pooling, backbone.config.hidden_size, num_layers, len(target_means_C))
    return Regressor(backbone, pooling, config.head, target_means_C, score_range)
