"""The command on frozen MiniLM: search, export, retrain, predict."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from command import Run

from ell_tune.essays.data import DataConfig, read_labelled
from ell_tune.essays.metrics import mcrmse

SPACE = Path(__file__).parents[3] / "search_spaces" / "minilm_svr.yaml"


@pytest.mark.slow
def test_the_shipped_space_from_essays_to_a_submission(tmp_path: Path, ray_address: str, run: Run) -> None:
    def do(*words: object) -> str:
        code, out, err = run(*words)
        assert code == 0, err
        return out

    do("sample-data", "--essays", 60, "--seed", 3, "--out", tmp_path)
    train = ["--train", tmp_path / "train.csv", "--address", ray_address]
    shorter = ["--set", "encoder.text.max_length=64", "--set", "study.num_folds=3"]
    do("search", SPACE, *train, "--study", tmp_path / "study", "--trials", 5, *shorter)
    rows = json.loads(do("leaderboard", tmp_path / "study", "--json"))
    assert sorted(row["number"] for row in rows) == list(range(5))
    assert {row["state"] for row in rows} == {"complete"}
    assert len({row["score"] for row in rows}) > 2

    do("export", tmp_path / "study", "--top", 1, "--out", tmp_path / "configs")
    model_dir = tmp_path / "model"
    do("retrain", *(tmp_path / "configs").iterdir(), *train, "--out", model_dir, "--folds", 3)
    essays = read_labelled(tmp_path / "train.csv", DataConfig())
    oof = read_labelled(model_dir / "oof.csv", DataConfig.model_construct(text_column="text_id"))
    assert essays.labels_NC is not None and oof.labels_NC is not None
    score = json.loads((model_dir / "model.json").read_text())["cv"]["score"]
    assert score == pytest.approx(mcrmse(essays.labels_NC, oof.labels_NC), abs=1e-6)
    assert score < float(essays.labels_NC.std(axis=0).mean())

    do("predict", model_dir, tmp_path / "test.csv", "--out", tmp_path / "submission.csv")
    with open(tmp_path / "submission.csv", newline="", encoding="utf-8") as file:
        submission = list(csv.DictReader(file))
    scores = np.array([[float(row[target]) for target in DataConfig().targets] for row in submission])
    assert len(scores) > 0 and scores.std(axis=0).min() > 0
    assert scores.min() >= 1 and scores.max() <= 5
