"""A folder with everything that prediction needs: the fitted scorer, the config, and each encoder with its tokenizer.

scorer.safetensors   statistics of the scaling, and the estimator's arrays
scorer.json          the config, and the tokens that were added to each encoder
encoder/ second/ …   config.json, weights and tokenizer files of each encoder
"""

import json
from collections.abc import Mapping
from pathlib import Path

from trainables.frozen_features.config import Config
from trainables.frozen_features.encoding import EncodedEssays
from trainables.frozen_features.scorer import Scorer, read_scorer
from trainables.regressor.encoder.backbone import BackboneConfig, load_backbone
from trainables.regressor.encoder.backbone_folder import find_backbone_folder
from trainables.regressor.weight_files import empty_folder, link_or_copy

_SCORER = "scorer.safetensors"
_DESCRIPTION = "scorer.json"


def write_weights(weights_dir: Path, config: Config, scorer: Scorer, encoded: Mapping[str, EncodedEssays]) -> None:
    """Makes the folder this fit's: what an older fit left there goes.

    Raises:
        BadConfig: a backbone is no longer where it was when the essays were encoded.
    """
    empty_folder(weights_dir)
    for field, encoder in config.encoders.items():
        folder = weights_dir / field
        folder.mkdir()
        for name, content in encoded[field].tokenizer_files.items():
            (folder / name).write_bytes(content)
        _keep_backbone(encoder.backbone.name, folder)
    added_token_ids = {field: list(encoded[field].added_token_ids) for field in config.encoders}
    description = {"config": config.model_dump(mode="json"), "added_token_ids": added_token_ids}
    (weights_dir / _DESCRIPTION).write_text(json.dumps(description, indent=2))
    scorer.write(weights_dir / _SCORER)


def read_weights(weights_dir: Path) -> tuple[Config, Scorer, dict[str, tuple[int, ...]]]:
    """The config, the scorer, and the ids of the tokens added to each encoder (by field)."""
    description = json.loads((weights_dir / _DESCRIPTION).read_text())
    added_token_ids = {field: tuple(ids) for field, ids in description["added_token_ids"].items()}
    return Config.model_validate(description["config"]), read_scorer(weights_dir / _SCORER), added_token_ids


def _keep_backbone(name: str, folder: Path) -> None:
    """Gives the folder the pretrained encoder as it is; the added tokens' embeddings follow from it."""
    source = find_backbone_folder(name)
    weights = [*source.glob("model*.safetensors"), *source.glob("model.safetensors.index.json")]
    if weights:
        # Frozen, so not to be written anew by every trial. (In the hub's cache, files are links to blobs.)
        for path in [source / "config.json", *weights]:
            link_or_copy(path.resolve(), folder / path.name)
    else:  # only a pickled pytorch_model.bin
        load_backbone(BackboneConfig(name=name), 0, (), 0).save_pretrained(folder)
