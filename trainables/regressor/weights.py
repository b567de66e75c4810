"""A folder with everything that prediction needs.

model.safetensors      weights
regressor.json         config, number of targets, score range
first/ second/ third/  architecture (config.json) and tokenizer files of each encoder
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedTokenizerBase

from trainables.regressor.building import empty_regressor
from trainables.regressor.config import Config
from trainables.regressor.encoder.backbone import load_tokenizer
from trainables.regressor.essays.text import TokenisedEssays
from trainables.regressor.model import Regressor
from trainables.regressor.weight_files import empty_folder, link_or_copy

_WEIGHTS = "model.safetensors"
_REGRESSOR = "regressor.json"
_ARCHITECTURE = "config.json"
_SOUP = "soup"


def start_weights(weights_dir: Path, config: Config, model: Regressor, essays: Mapping[str, TokenisedEssays]) -> None:
    """Makes the folder this fit's: what an older fit left goes, and all files but the weights are written."""
    empty_folder(weights_dir)
    regressor = {
        "config": config.model_dump(mode="json"),
        "num_targets": model.head.num_targets,
        "score_range": model.head.score_range,
    }
    (weights_dir / _REGRESSOR).write_text(json.dumps(regressor, indent=2))
    for name, encoder in model.encoders.items():
        folder = weights_dir / name
        folder.mkdir()
        (folder / _ARCHITECTURE).write_text(encoder.backbone.config.to_json_string())
        for file, content in essays[name].tokenizer_files.items():
            (folder / file).write_bytes(content)


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


def load_regressor(weights_dir: Path) -> tuple[Config, Regressor, dict[str, PreTrainedTokenizerBase]]:
    """What `start_weights` and `write_weights` left in a folder, read without a network; tokenizers by encoder."""
    regressor = json.loads((weights_dir / _REGRESSOR).read_text())
    config = Config.model_validate(regressor["config"])
    folders = {name: weights_dir / name for name in config.encoders}
    low, high = regressor["score_range"]
    model = empty_regressor(config, folders, torch.zeros(regressor["num_targets"]), (low, high))
    model.load_state_dict(load_file(weights_dir / _WEIGHTS))
    return config, model, {name: load_tokenizer(str(folder)) for name, folder in folders.items()}
