"""A model straight from a search: through the real engine, then what is refused."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from command import Run
from plain_engine import run_all
from studies import make_source, write_space

from ell_tune.errors import UserError
from ell_tune.essays.data import DataConfig, read_labelled
from ell_tune.essays.folds import load_folds
from ell_tune.files.artifacts import ArtifactFolder
from ell_tune.models.model_folder import load_model
from ell_tune.runs.budget import Budget
from ell_tune.studies.kept_model import make_kept_model
from ell_tune.studies.study import Study, open_study
from ell_tune.trials.ranking import ranked
from ell_tune.trials.records import TrialRecord


def kept(study_dir: Path) -> set[int]:
    return {int(path.parts[-3][-4:]) for path in (study_dir / "trials").glob("*/weights/.complete")}


@pytest.mark.slow
def test_a_search_with_a_disk_budget_shrinks_with_it_and_predicts_without_retraining(
    run: Run, tmp_path: Path, ray_address: str
) -> None:
    run("sample-data", "--essays", 24, "--seed", 1, "--out", tmp_path)
    train, study_dir = tmp_path / "train.csv", tmp_path / "study"
    space = write_space(tmp_path / "space.yaml", study={"num_folds": 3, "fold": 1, "scheduler": False})
    search = ["search", space, "--train", train, "--study", study_dir, "--address", ray_address, "--trials", 4]
    code, _, err = run(*search, "--disk-budget", "1MB")
    assert code == 0, err
    complete = [trial.number for trial in ranked(open_study(study_dir).record().trials) if trial.state == "complete"]
    assert len(complete) == 4 and kept(study_dir) == set(complete)

    # Nothing is left to search, and the budget has room for two.
    sizes = {path: path.stat().st_size for path in (study_dir / "trials").rglob("*") if path.is_file()}
    others = sum(size for path, size in sizes.items() if path.parent.name != "weights")
    of_two = sum(
        size
        for path, size in sizes.items()
        if path.parent.name == "weights" and int(path.parts[-3][-4:]) in complete[:2]
    )
    code, out, err = run(*search, "--disk-budget", f"{others + of_two}B")
    assert code == 0 and "Nothing is left to search" in out, err
    assert kept(study_dir) == set(complete[:2])
    numbers = ", ".join(map(str, complete[:2]))
    assert f"with the weights of trials {numbers}, the best first" in run("status", study_dir)[1]

    export = ["export", study_dir, "--out", tmp_path / "configs", "--model", tmp_path / "model"]
    code, _, err = run(*export, "--top", 3)
    assert code == 2 and f"has none of trial {complete[2]}. " in err
    assert not (tmp_path / "configs").exists() and not (tmp_path / "model").exists()
    code, out, err = run(*export, "--top", 2)
    assert code == 0 and "2 members" in out and len(list((tmp_path / "configs").iterdir())) == 2, err
    code, _, err = run("predict", tmp_path / "model", tmp_path / "test.csv", "--out", tmp_path / "submission.csv")
    assert code == 0, err
    essays = read_labelled(train, DataConfig())
    assert essays.labels_NC is not None
    trained_on_N = load_folds(study_dir / "folds.csv", essays).fold_of_N != 1
    scores = (tmp_path / "submission.csv").read_text().splitlines()[1].split(",")[1:]
    assert [float(score) for score in scores] == pytest.approx(essays.labels_NC[trained_on_N].mean(axis=0), abs=1e-5)

    model = json.loads((tmp_path / "model" / "model.json").read_text())
    assert model["cv"] is None and [member["fold"] for member in model["members"]] == [1, 1]
    err = re.sub(r"\s+", " ", run("score", tmp_path / "model", train)[2])
    assert "24 of these essays were used in training, so this score flatters the model" in err
    assert "out-of-fold" not in err


def write_file(text: str) -> Callable[[Path], None]:
    def write(directory: Path) -> None:
        (directory / "mean.json").write_text(text)

    return write


@pytest.fixture
def searched(tmp_path: Path) -> tuple[Study, list[TrialRecord]]:
    """A study, and two trials of it with weights."""
    source, study = make_source(tmp_path / "study", Budget(num_trials=3), study={"num_folds": 2, "scheduler": False})
    run_all(source, tmp_path / "artifacts")
    trials = ranked(study.record().trials)[:2]
    for trial in trials:
        study.artifact_folder(trial.number).publish("weights", write_file(f"[{trial.number}]"))
    return study, trials


def test_the_members_are_the_trials(searched: tuple[Study, list[TrialRecord]], tmp_path: Path) -> None:
    study, trials = searched
    model = make_kept_model(study, trials, tmp_path / "model")
    assert load_model(tmp_path / "model") == model
    assert [member.score for member in model.members] == [trial.score for trial in trials]
    for trial, member in zip(trials, model.members, strict=True):
        weights_dir = tmp_path / "model" / "members" / member.name / "weights"
        assert json.loads((weights_dir / "mean.json").read_text()) == [trial.number]
    assert (tmp_path / "model" / "folds.csv").read_bytes() == study.folds_path.read_bytes()


def test_weights_that_go_meanwhile_are_missed_and_nothing_is_left(
    searched: tuple[Study, list[TrialRecord]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, trials = searched
    fetch = ArtifactFolder.fetch

    def fetch_and_lose(folder: ArtifactFolder, name: str, scratch_dir: Path) -> Path:
        found = fetch(folder, name, scratch_dir)
        folder.delete(name)
        return found

    monkeypatch.setattr(ArtifactFolder, "fetch", fetch_and_lose)
    before = set(tmp_path.iterdir())
    with pytest.raises(UserError, match=rf"none of trial {trials[0].number}\. .*--disk-budget.*retrain"):
        make_kept_model(study, trials, tmp_path / "model")
    assert set(tmp_path.iterdir()) == before


def test_a_folder_with_other_things_is_refused(searched: tuple[Study, list[TrialRecord]], tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="model: a model from a search needs a folder that is empty"):
        make_kept_model(*searched, tmp_path / "model")
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["mine.txt"]
