"""The command with `--pseudo` and `--pseudo-model`: what reaches each fit, what is remembered, and what is refused."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from command import Run
from studies import write_space

from ell_tune.essays.csv_table import to_csv
from ell_tune.essays.data import DataConfig, read_labelled
from ell_tune.essays.folds import load_folds
from ell_tune.studies.study import open_study

NUM_FOLDS = 2
TEXTS = ["An essay that nobody scored.", "Another of these, a longer one.", "The last."]


@pytest.fixture
def folder(tmp_path: Path, run: Run) -> Path:
    """Essays with and without scores, a config and a space."""
    run("sample-data", "--essays", 20, "--seed", 1, "--out", tmp_path)
    seen = read_labelled(tmp_path / "train.csv", DataConfig()).texts[0]
    rows = [[f"U{index}", text] for index, text in enumerate([*TEXTS, seen])]
    (tmp_path / "unlabelled.csv").write_text(to_csv(["text_id", "full_text"], rows))
    config = {"trainable": "fake_trainable", "seed": 42, "config": {"evaluations": 1}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    write_space(tmp_path / "space.yaml", base={"evaluations": 1})
    return tmp_path


def words_of(verb: str, folder: Path, out: str, *pseudo: object) -> list[object]:
    if verb == "search":
        return ["search", folder / "space.yaml", "--train", folder / "train.csv", "--study", folder / out, *pseudo]
    own = ["--train", folder / "train.csv", "--out", folder / out, "--folds", NUM_FOLDS]
    return ["retrain", folder / "config.yaml", *own, *pseudo]


def files_of_folds(model_dir: Path, name: str) -> list[dict[str, list[list[float]]]]:
    members = json.loads((model_dir / "model.json").read_text())["members"]
    return [json.loads((model_dir / "members" / m["name"] / "weights" / name).read_text()) for m in members]


@pytest.mark.slow
def test_retraining_and_searching_with_pseudo_labels(folder: Path, run: Run, ray_address: str) -> None:
    on_ray = ["--address", ray_address]
    assert run(*words_of("retrain", folder, "first", *on_ray))[0] == 0
    pseudo = ["--pseudo", folder / "unlabelled.csv", "--pseudo-model", folder / "first"]

    code, out, err = run(*words_of("retrain", folder, "second", *pseudo, *on_ray))
    assert code == 0, err
    assert "Pseudo-labels: 3 essays, scored for each fold" in out and "1 dropped, which are training essays too" in out
    essays = read_labelled(folder / "train.csv", DataConfig())
    folds = load_folds(folder / "second" / "folds.csv", essays)
    assert essays.labels_NC is not None
    for fold, got in enumerate(files_of_folds(folder / "second", "pseudo.json")):
        mean_C = essays.labels_NC[folds.train_rows(fold)].mean(axis=0)
        np.testing.assert_allclose(got["labels"], [mean_C] * 3, rtol=1e-6)
        assert got["lengths"] == list(map(len, TEXTS))  # prepared in one go with the labelled ones
    provenance = json.loads((folder / "second" / "model.json").read_text())["provenance"]
    assert provenance["pseudo"] | {"sha256": ""} == {"sha256": "", "essays": 3, "members": 2}

    # The same again has nothing left to do. Other pseudo-labels are another result, and so are none.
    assert "members done" not in run(*words_of("retrain", folder, "second", *pseudo, *on_ray))[1]
    (folder / "fewer.csv").write_text("\n".join((folder / "unlabelled.csv").read_text().splitlines()[:3]) + "\n")
    fewer = ["--pseudo", folder / "fewer.csv", *pseudo[2:]]
    assert "2/2 members done" in run(*words_of("retrain", folder, "second", *fewer, *on_ray))[1]
    assert "2/2 members done" in run(*words_of("retrain", folder, "second", *on_ray))[1]

    # A search has the labels of its fold, goes on with them, and with no others.
    assert run(*words_of("search", folder, "study", *pseudo, *on_ray, "--trials", 1))[0] == 0
    (kept,) = (folder / "study").glob("pseudo-*.csv")
    assert [line.split(",")[:2] for line in kept.read_text().splitlines()[1:]] == [[f"U{i}", "0"] for i in range(3)]
    made_at = kept.stat().st_mtime_ns
    assert run(*words_of("search", folder, "study", *pseudo, *on_ray, "--trials", 2))[0] == 0
    assert kept.stat().st_mtime_ns == made_at  # once
    assert len(open_study(folder / "study").record().trials) == 2
    for others, message in {
        (): r"^error: --pseudo: a study goes on with .* was begun with some",
        tuple(fewer): r"study was begun with others",
    }.items():
        code, _, err = run(*words_of("search", folder, "study", *others, *on_ray, "--trials", 3))
        assert code == 2 and re.search(message, err)


@pytest.mark.parametrize("verb", ["search", "retrain"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--pseudo", "{}/unlabelled.csv"], r"--pseudo: .* a model that labels the essays too, but --pseudo-model"),
        (["--pseudo-model", "{}/first"], r"--pseudo-model: .* essays to label too, but --pseudo UNLABELLED.csv is"),
        (["--pseudo", "{}/unlabelled.csv", "--pseudo-model", "{}/none"], r"none: a model folder is needed"),
    ],
)
def test_a_mistake_with_the_options_is_one_paragraph_and_nothing_written(
    folder: Path, run: Run, verb: str, options: list[str], message: str
) -> None:
    before = sorted(path.name for path in folder.iterdir())
    code, out, err = run(*words_of(verb, folder, "new", *[word.format(folder) for word in options]))
    assert (code, out) == (2, "")
    assert re.search(message, err) and err.startswith("error: ") and err.count("\n") == 1
    assert sorted(path.name for path in folder.iterdir()) == before


def test_a_model_is_not_written_over_the_one_that_labels(folder: Path, run: Run) -> None:
    pseudo = ["--pseudo", folder / "unlabelled.csv", "--pseudo-model", folder / "other" / ".." / "model"]
    code, _, err = run(*words_of("retrain", folder, "model", *pseudo))
    assert code == 2 and "is also the --pseudo-model, which would be overwritten. Give another --out." in err
