"""The command on a real, tiny DeBERTa: from invented essays to a submission and a report."""

import csv
import json
from pathlib import Path

import pytest
import yaml
from command import Run
from tiny_deberta import make_tiny_deberta

from ell_tune import cli
from ell_tune.essays.data import DataConfig, read_labelled
from ell_tune.essays.metrics import mcrmse

pytestmark = pytest.mark.slow  # its workers import torch; the same path with a fast trainable is in test_cli.py


def _run(*words: object) -> None:
    cli.app([str(word) for word in words], standalone_mode=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, ray_address: str) -> Path:
    """What the whole path leaves behind."""
    folder = tmp_path_factory.mktemp("path")
    backbone = make_tiny_deberta(folder / "tiny-deberta")
    space = {
        "trainable": "trainables.regressor",
        "study": {"num_folds": 3},
        "base": {
            "backbone.name": str(backbone),
            "text.max_length": 64,
            "optimizer.head_lr": 1e-2,
            "training": {"num_epochs": 2, "batch_size": 8, "evaluations": 4},
        },
        "search": {
            "optimizer.lr": {"log": [1e-4, 1e-2], "default": 1e-3},
            "reinit.num_layers": {"int": [0, 1]},
            "pooling": {"choice": [{"name": "mean"}, {"name": "lstm", "hidden_size": {"int": [8, 16], "default": 8}}]},
            "swa": {"choice": [False, {"start_frac": 0.5}]},
        },
    }
    (folder / "space.yaml").write_text(yaml.safe_dump(space))
    _run("sample-data", "--essays", 48, "--seed", 3, "--out", folder)
    # One trial at a time: a worker's import of torch and transformers takes longer than its trials.
    train = ["--train", folder / "train.csv", "--address", ray_address, "--cpus-per-trial", 2]
    _run("search", folder / "space.yaml", *train, "--study", folder / "study", "--trials", 4)
    _run("export", folder / "study", "--top", 1, "--out", folder / "configs")
    _run("retrain", *(folder / "configs").iterdir(), *train, "--out", folder / "model", "--folds", 2)
    _run("predict", folder / "model", folder / "test.csv", "--out", folder / "submission.csv")
    _run("report", folder / "study", "--out", folder / "report.html")
    return folder


def test_the_leaderboard_holds_every_trial(folder: Path, run: Run) -> None:
    rows = json.loads(run("leaderboard", folder / "study", "--json")[1])
    assert sorted(row["number"] for row in rows) == [0, 1, 2, 3]
    assert all(0.3 < row["score"] < 1.5 for row in rows)
    assert rows[0]["state"] == "complete" and rows[0]["steps"] == 4
    assert all(row["steps"] == 2 for row in rows if row["state"] == "stopped")


def test_the_model_is_cross_validated_on_every_essay(folder: Path) -> None:
    essays = read_labelled(folder / "train.csv", DataConfig())
    oof = read_labelled(folder / "model" / "oof.csv", DataConfig.model_construct(text_column="text_id"))
    assert oof.ids == essays.ids
    assert essays.labels_NC is not None and oof.labels_NC is not None
    cv = json.loads((folder / "model" / "model.json").read_text())["cv"]
    assert cv["score"] == pytest.approx(mcrmse(essays.labels_NC, oof.labels_NC), abs=1e-6)
    # The members see only a few dozen essays, but more than the mean of their scores must come of it.
    assert cv["score"] < 1.1 * float(essays.labels_NC.std(axis=0).mean())


def test_the_submission_has_every_essay_in_order_within_the_score_range(folder: Path) -> None:
    with open(folder / "test.csv", newline="", encoding="utf-8") as file:
        test_ids = [row["text_id"] for row in csv.DictReader(file)]
    with open(folder / "submission.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["text_id"] for row in rows] == test_ids
    scores = [float(row[target]) for row in rows for target in DataConfig().targets]
    assert all(1.0 <= score <= 5.0 for score in scores) and len(set(scores)) > len(rows)


def test_the_report_is_one_page_without_a_network(folder: Path) -> None:
    page = (folder / "report.html").read_text()
    assert "optimizer.lr" in page
    assert "default-src 'none'" in page
