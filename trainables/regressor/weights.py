"""A folder with everything that prediction needs: weights, config, architecture, tokenizer."""

import json
import os
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedTokenizerBase

from trainables.regressor.config import Config
from trainables.regressor.encoder.backbone import empty_backbone, load_tokenizer
from trainables.regressor.encoder.layers import encoder_layers
from trainables.regressor.essays.text import TokenisedEssays
from trainables.regressor.file_links import link_or_copy
from trainables.regressor.model import Regressor
from trainables.regressor.pooling import make_pooling

_WEIGHTS = "model.safetensors"
_REGRESSOR = "regressor.json"
_ARCHITECTURE = "config.json"
_SOUP = "soup"


def start_weights(weights_dir: Path, config: Config, model: Regressor, essays: TokenisedEssays) -> None:
    """Makes the folder this fit's: an older fit's weights go, and all files but the weights are written."""
    (weights_dir / _WEIGHTS).unlink(missing_ok=True)
    shutil.rmtree(soup_dir(weights_dir), ignore_errors=True)
    regressor = {
        "config": config.model_dump(mode="json"),
        "num_targets": model.head.num_targets,
        "score_range": model.head.score_range,
    }
    for name, content in {
        **essays.tokenizer_files,
        _ARCHITECTURE: model.backbone.config.to_json_string().encode(),
        _REGRESSOR: json.dumps(regressor, indent=2).encode(),
    }.items():
        temporary = weights_dir / f"{name}.tmp"
        temporary.write_bytes(content)
        os.replace(temporary, weights_dir / name)


def soup_dir(weights_dir: Path) -> Path:
    """Where a fit keeps the weights that it may still average; gone when it ends."""
    return weights_dir / _SOUP


def write_weights(weights_dir: Path, model: Regressor) -> None:
    """Puts the model's weights in the place of those in the folder, at once."""
    temporary = weights_dir / f"{_WEIGHTS}.tmp"
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, temporary)
    os.replace(temporary, weights_dir / _WEIGHTS)


def copy_weights(source_dir: Path, destination_dir: Path) -> None:
    """Gives another folder the weights too: as a hard link where possible, for they are never changed."""
    temporary = destination_dir / f"{_WEIGHTS}.tmp"
    temporary.unlink(missing_ok=True)
    link_or_copy(source_dir / _WEIGHTS, temporary)
    os.replace(temporary, destination_dir / _WEIGHTS)


def load_regressor(weights_dir: Path) -> tuple[Config, Regressor, PreTrainedTokenizerBase]:
    """What `start_weights` and `write_weights` left in a folder, read without a network."""
    regressor = json.loads((weights_dir / _REGRESSOR).read_text())
    config = Config.model_validate(regressor["config"])
    backbone = empty_backbone(config.backbone, weights_dir)
    num_targets = regressor["num_targets"]
    pooling = make_pooling(config.pooling, backbone.config.hidden_size, len(encoder_layers(backbone)), num_targets)
    low, high = regressor["score_range"]
    model = Regressor(backbone, pooling, config.head, torch.zeros(num_targets), (low, high))
    model.load_state_dict(load_file(weights_dir / _WEIGHTS))
    return config, model, load_tokenizer(str(weights_dir))
