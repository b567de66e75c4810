"""Pseudo-labels never come from a model that saw an essay on which the new model is validated."""

import json
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import fake_trainable
import numpy as np
import pytest
from numpy.typing import NDArray
from studies import essays

from ell_tune.errors import UserError
from ell_tune.essays.csv_table import to_csv
from ell_tune.essays.data import DataConfig, Essays
from ell_tune.essays.folds import Folds, make_folds, save_folds
from ell_tune.models import model_folder, pseudo_labels
from ell_tune.models.model_folder import Member, Model, load_model, mean_scores, save_model
from ell_tune.models.pseudo_labels import (
    PseudoEssays,
    PseudoRequest,
    check_pseudo,
    check_same_pseudo,
    fold_scores,
    pseudo_request,
)
from ell_tune.running.jobs import Job
from ell_tune.running.worker import Workload

NUM_FOLDS, NUM_CONFIGS = 3, 2
UNLABELLED = [("u1", "One essay that nobody scored."), ("u2", "Another one.")]


def make_model(model_dir: Path, train: Essays, folds: Folds) -> Path:
    """A model folder of the fake trainable: a member's scores are the means of its training labels, and its config."""
    assert train.labels_NC is not None
    members = []
    for config in range(NUM_CONFIGS):
        for fold in range(folds.num_folds):
            member = Member(f"{config:02d}-fold{fold}", f"{config}.yaml", "fake_trainable", fold, score=0.5)
            mean_C = train.labels_NC[folds.train_rows(fold)].mean(axis=0) + config / 4
            weights_dir = model_dir / "members" / member.name / "weights"
            weights_dir.mkdir(parents=True)
            (weights_dir / "mean.json").write_text(json.dumps(mean_C.tolist()))
            members.append(member)
    save_folds(model_dir / "folds.csv", train, folds)
    provenance = {"data_sha256": train.fingerprint, "seed": 42}
    save_model(model_dir, Model(DataConfig(), tuple(members), cv={}, provenance=provenance))
    return model_dir


def write_essays(path: Path, rows: Sequence[tuple[str, str]]) -> Path:
    path.write_text(to_csv(["text_id", "full_text"], map(list, rows)))
    return path


def pseudo_essays(folder: Path, train: Essays, folds: Folds, rows: Sequence[tuple[str, str]]) -> PseudoEssays:
    """What a retraining on `train` and `folds` finds with the model in `folder` and unlabelled essays."""
    request = PseudoRequest(write_essays(folder / "unlabelled.csv", rows), folder / "model")
    return check_pseudo(request, train, folds, DataConfig(), range(folds.num_folds))


@pytest.fixture(autouse=True)
def predicting_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """No process of its own for each labelling: `test_pseudo_runs.py` has those."""
    monkeypatch.setattr(pseudo_labels, "ProcessPoolExecutor", lambda max_workers, mp_context: ThreadPoolExecutor(1))


@pytest.fixture
def train() -> Essays:
    return essays(num_essays=18)


@pytest.fixture
def folds(train: Essays) -> Folds:
    return make_folds(train, NUM_FOLDS, seed=42)


def with_other_scores(train: Essays, rows: NDArray[np.int64]) -> Essays:
    assert train.labels_NC is not None
    labels_NC = train.labels_NC.copy()
    labels_NC[rows] = 6 - labels_NC[rows]
    return replace(train, labels_NC=labels_NC)


def test_a_folds_labels_are_the_mean_of_the_members_without_it(tmp_path: Path, train: Essays, folds: Folds) -> None:
    make_model(tmp_path / "model", train, folds)
    labels = pseudo_essays(tmp_path, train, folds, UNLABELLED).labels(tmp_path)
    assert sorted(labels) == [0, 1, 2] and train.labels_NC is not None
    for fold in range(NUM_FOLDS):
        mean_C = train.labels_NC[folds.train_rows(fold)].mean(axis=0) + 0.125
        assert labels[fold].dtype == np.float32
        np.testing.assert_allclose(labels[fold], [mean_C, mean_C], rtol=1e-6)


def new_member(folder: Path, train: Essays, folds: Folds, fold: int, labels_PC: NDArray[np.float32]) -> list[float]:
    """What a member of the fake trainable learns from a fold's training labels and pseudo-labels."""
    workload = Workload.of("fake_trainable", DataConfig(), train, folds, str(folder), True, {fold: labels_PC})
    fold_data = workload.fold_data(Job("job", {}, fold, seed=1), prepared=np.zeros(len(train) + len(labels_PC)))
    rows = np.concatenate([fold_data.train_rows, fold_data.pseudo_rows])
    return [float(mean) for mean in fold_data.labels_NC[rows].mean(axis=0)]


def test_what_a_folds_own_essays_scored_changes_nothing_of_what_it_is_trained_on(
    tmp_path: Path, train: Essays, folds: Folds
) -> None:
    fold = 1
    learned, leaky = [], []
    for name, labelled in {"as_scored": train, "other": with_other_scores(train, folds.valid_rows(fold))}.items():
        (tmp_path / name).mkdir()
        model_dir = make_model(tmp_path / name / "model", labelled, folds)
        labels_PC = pseudo_essays(tmp_path / name, labelled, folds, UNLABELLED).labels(tmp_path / name)[fold]
        learned.append(new_member(tmp_path, labelled, folds, fold, labels_PC))
        # The popular form: what `ell-tune predict` would say of them, by all members.
        model = load_model(model_dir)
        of_all_PC = mean_scores(model_dir, model.members, model.data, [text for _, text in UNLABELLED])
        leaky.append(new_member(tmp_path, labelled, folds, fold, of_all_PC.astype(np.float32)))
    assert learned[0] == learned[1]
    assert leaky[0] != leaky[1]


@pytest.mark.parametrize(
    ("num_folds", "seed", "message"),
    [
        (NUM_FOLDS, 43, r"model: .* or it hands on labels .* its 3 folds \(seed 42\) are not the 3 folds of this run"),
        (2, 42, r"its 3 folds \(seed 42\) are not the 2 folds .* the same number of folds \(--folds; .* the same seed"),
    ],
)
def test_a_model_of_other_folds_is_refused(
    tmp_path: Path, train: Essays, folds: Folds, num_folds: int, seed: int, message: str
) -> None:
    make_model(tmp_path / "model", train, folds)
    others = make_folds(train, num_folds, seed)
    # This is why: the members without the model's fold 0 were trained on essays of the run's fold 0.
    assert len(np.intersect1d(folds.train_rows(0), others.valid_rows(0))) > 0
    with pytest.raises(UserError, match=message):
        pseudo_essays(tmp_path, train, others, UNLABELLED)


@pytest.mark.parametrize("change", ["texts", "labels"])
def test_a_model_of_other_essays_is_refused_also_if_their_ids_are_the_same(
    tmp_path: Path, train: Essays, folds: Folds, change: str
) -> None:
    make_model(tmp_path / "model", train, folds)
    # Other texts under the same ids: the fold of an id is the same, but its essay was seen in training.
    changed = replace(train, texts=train.texts[::-1]) if change == "texts" else with_other_scores(train, np.arange(1))
    with pytest.raises(UserError, match=r"model: .* but its essays are others \(sha256 .*\)\. Give the same --train"):
        pseudo_essays(tmp_path, changed, folds, UNLABELLED)


def test_training_essays_are_dropped_by_id_and_by_text(tmp_path: Path, train: Essays, folds: Folds) -> None:
    make_model(tmp_path / "model", train, folds)
    respaced = "\n\n  " + train.texts[4].replace(" ", " \n ") + " "
    rows = [("u1", "Essay 3 of nobody."), (train.ids[2], "Rewritten."), ("u2", respaced), ("u3", train.texts[0])]
    pseudo = pseudo_essays(tmp_path, train, folds, rows)
    assert (pseudo.essays.ids, pseudo.num_dropped) == (("u1",), 3)
    with pytest.raises(UserError, match=r"unlabelled.csv: .* no training essays, but all 3 have the id or the text"):
        pseudo_essays(tmp_path, train, folds, rows[1:])


def test_a_search_needs_the_labels_of_its_fold_alone(tmp_path: Path, train: Essays, folds: Folds) -> None:
    make_model(tmp_path / "model", train, folds)
    request = PseudoRequest(write_essays(tmp_path / "unlabelled.csv", UNLABELLED), tmp_path / "model")
    pseudo = check_pseudo(request, train, folds, DataConfig(), [2])
    labels = pseudo.labels(tmp_path)
    of_all = pseudo_essays(tmp_path, train, folds, UNLABELLED)
    assert list(labels) == [2]
    np.testing.assert_array_equal(labels[2], of_all.labels(tmp_path)[2])
    assert pseudo.fingerprint != of_all.fingerprint


def test_a_searchs_own_model_labels_for_the_fold_of_the_search_alone(
    tmp_path: Path, train: Essays, folds: Folds
) -> None:
    model_dir = make_model(tmp_path / "model", train, folds)
    model = load_model(model_dir)
    without_2 = tuple(member for member in model.members if member.fold == 2)
    save_model(model_dir, replace(model, members=without_2, cv=None))
    request = PseudoRequest(write_essays(tmp_path / "unlabelled.csv", UNLABELLED), model_dir)
    assert list(check_pseudo(request, train, folds, DataConfig(), [2]).labels(tmp_path)) == [2]
    with pytest.raises(UserError, match=r"but it has none without fold 0, 1: it is a search's own"):
        check_pseudo(request, train, folds, DataConfig(), range(3))


def test_each_member_predicts_once(
    tmp_path: Path, train: Essays, folds: Folds, monkeypatch: pytest.MonkeyPatch
) -> None:
    model_dir = make_model(tmp_path / "model", train, folds)
    asked: Counter[str] = Counter()

    class Counting:
        @staticmethod
        def predict(weights_dir: Path, texts: Sequence[str]) -> NDArray[np.float32]:
            asked[weights_dir.parent.name] += 1
            return fake_trainable.predict(weights_dir, texts)

    monkeypatch.setattr(model_folder, "load_trainable", lambda name: Counting)
    model = load_model(model_dir)
    assert fold_scores(model_dir, model, range(NUM_FOLDS), ["one", "two"]).shape == (NUM_FOLDS, 2, 6)
    assert asked == {member.name: 1 for member in model.members}


def test_labels_are_made_once_and_kept_without_the_texts(
    tmp_path: Path, train: Essays, folds: Folds, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_model(tmp_path / "model", train, folds)
    pseudo = pseudo_essays(tmp_path, train, folds, UNLABELLED)
    labels = pseudo.labels(tmp_path)
    (kept,) = tmp_path.glob("pseudo-*.csv")
    lines = kept.read_text().splitlines()
    assert lines[0] == "id,fold,cohesion,syntax,vocabulary,phraseology,grammar,conventions"
    assert [line.split(",")[:2] for line in lines[1:]] == [[i, k] for k in "012" for i in ("u1", "u2")]
    assert not any(text in kept.read_text() for _, text in UNLABELLED)
    monkeypatch.delattr("ell_tune.models.pseudo_labels.mean_scores")
    again = pseudo_essays(tmp_path, train, folds, UNLABELLED).labels(tmp_path)
    assert all(np.array_equal(again[fold], labels[fold]) for fold in range(NUM_FOLDS))


def test_other_essays_or_members_have_other_labels(tmp_path: Path, train: Essays, folds: Folds) -> None:
    make_model(tmp_path / "model", train, folds)
    pseudo = pseudo_essays(tmp_path, train, folds, UNLABELLED)
    reworded = pseudo_essays(tmp_path, train, folds, [("u1", "Reworded."), UNLABELLED[1]])
    better = replace(pseudo.model.members[0], score=0.4)
    retrained = replace(pseudo, model=replace(pseudo.model, members=(better, *pseudo.model.members[1:])))
    assert len({each.fingerprint for each in (pseudo, reworded, retrained)}) == 3
    assert pseudo_essays(tmp_path, train, folds, UNLABELLED).fingerprint == pseudo.fingerprint


def test_labels_lie_within_the_score_range(tmp_path: Path, train: Essays, folds: Folds) -> None:
    model_dir = make_model(tmp_path / "model", train, folds)
    model = load_model(model_dir)
    for config in range(NUM_CONFIGS):
        path = model_dir / "members" / f"{config:02d}-fold0" / "weights" / "mean.json"
        path.write_text(json.dumps([0.5, 9.0, 5.0, 2.25, 1.0, 3.0]))
    save_model(model_dir, model)
    labels = pseudo_essays(tmp_path, train, folds, UNLABELLED).labels(tmp_path)
    assert labels[0].tolist() == [[1.0, 5.0, 5.0, 2.25, 1.0, 3.0]] * 2


def test_a_fit_gets_the_labels_of_its_fold_after_the_labelled_essays(train: Essays, folds: Folds) -> None:
    labels = {fold: np.full((2, 6), fold + 0.5, dtype=np.float32) for fold in range(NUM_FOLDS)}
    workload = Workload.of("fake_trainable", DataConfig(), train, folds, "artifacts", False, labels)
    without = replace(workload, pseudo_labels=None)
    for fold in range(NUM_FOLDS):
        job = Job("job", {}, fold, seed=1)
        fold_data, plain = workload.fold_data(job, None), without.fold_data(job, None)
        assert fold_data.pseudo_rows.tolist() == [18, 19] and plain.pseudo_rows.tolist() == []
        np.testing.assert_array_equal(fold_data.labels_NC[18:], labels[fold])
        np.testing.assert_array_equal(fold_data.labels_NC[:18], plain.labels_NC)
        np.testing.assert_array_equal(fold_data.train_rows, folds.train_rows(fold))
        np.testing.assert_array_equal(fold_data.valid_rows, folds.valid_rows(fold))


def test_the_two_options_belong_together() -> None:
    essays_path, model_dir = Path("unlabelled.csv"), Path("model")
    assert pseudo_request(None, None) is None
    assert pseudo_request(essays_path, model_dir) == PseudoRequest(essays_path, model_dir)
    with pytest.raises(UserError, match=r"^--pseudo: .* but --pseudo-model MODEL_DIR is missing\. Give both"):
        pseudo_request(essays_path, None)
    with pytest.raises(UserError, match=r"^--pseudo-model: .* but --pseudo UNLABELLED.csv is missing\. Give both"):
        pseudo_request(None, model_dir)


def test_a_study_goes_on_with_its_pseudo_labels_or_without_any(tmp_path: Path, train: Essays, folds: Folds) -> None:
    make_model(tmp_path / "model", train, folds)
    pseudo = pseudo_essays(tmp_path, train, folds, UNLABELLED)
    other = pseudo_essays(tmp_path, train, folds, UNLABELLED[:1])
    check_same_pseudo(None, None, tmp_path)
    check_same_pseudo(pseudo.provenance, pseudo, tmp_path)
    with pytest.raises(UserError, match=r"was begun without\. Leave out --pseudo and --pseudo-model, or another"):
        check_same_pseudo(None, pseudo, tmp_path)
    with pytest.raises(UserError, match=r"was begun with some\. Give the same --pseudo and --pseudo-model, or"):
        check_same_pseudo(pseudo.provenance, None, tmp_path)
    with pytest.raises(UserError, match=r"was begun with others \(sha256 \w{12}, not \w{12}\)\. Give the first"):
        check_same_pseudo(pseudo.provenance, other, tmp_path)
