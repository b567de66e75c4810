"""Sample essays: FB3's format and score statistics, reproducible, and learnable but not perfectly."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline, make_union

from ell_tune.errors import UserError
from ell_tune.essays import sample_language as language
from ell_tune.essays.data import FB3_TARGETS, DataConfig, Essays, read_labelled, read_unlabelled
from ell_tune.essays.metrics import mcrmse, rmse_per_target
from ell_tune.essays.sample_essays import write_sample_data


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> tuple[Essays, Essays]:
    train_path, test_path = write_sample_data(400, seed=0, out_dir=tmp_path_factory.mktemp("sample"))
    return read_labelled(train_path, DataConfig()), read_unlabelled(test_path, DataConfig())


def test_files_are_in_the_format_of_fb3(sample: tuple[Essays, Essays], tmp_path: Path) -> None:
    train, test = sample
    assert (len(train), len(test)) == (400, 80)
    ids = [*train.ids, *test.ids]
    assert len(set(ids)) == 480
    assert all(re.fullmatch("[0-9A-F]{12}", id_) for id_ in ids)
    other, _ = write_sample_data(20, seed=1, out_dir=tmp_path / "other")
    assert not set(ids) & set(read_labelled(other, DataConfig()).ids)  # other essays, so other ids
    train_path, test_path = write_sample_data(20, seed=0, out_dir=tmp_path / "new" / "folder")
    assert (train_path, test_path) == (tmp_path / "new/folder/train.csv", tmp_path / "new/folder/test.csv")
    assert train_path.read_text().startswith("text_id,full_text," + ",".join(FB3_TARGETS) + "\n")
    assert test_path.read_text().startswith("text_id,full_text\n")
    assert len(read_unlabelled(test_path, DataConfig())) == 20


def test_scores_are_distributed_as_in_fb3(sample: tuple[Essays, Essays]) -> None:
    labels_NC = sample[0].labels_NC
    assert labels_NC is not None
    assert set(np.unique(labels_NC)) <= set(np.arange(1, 5.5, 0.5))
    np.testing.assert_allclose(labels_NC.mean(axis=0), 3.1, atol=0.1)
    np.testing.assert_allclose(labels_NC.std(axis=0), 0.65, atol=0.07)
    correlations = np.array(pd.DataFrame(labels_NC).corr())[np.triu_indices(6, k=1)]
    assert 0.55 < correlations.min() and correlations.max() < 0.8
    assert 0.62 < correlations.mean() < 0.75


def test_essays_have_paragraphs_and_a_plausible_length(sample: tuple[Essays, Essays]) -> None:
    for text in (*sample[0].texts, *sample[1].texts):
        assert 100 <= len(text.split()) <= 380
        assert 2 <= len(text.split("\n\n")) <= 7
        assert not re.search(r"[{}|]|  |\n\n\n| \n", text)
    assert len(set(sample[0].texts)) == 400


def _out_of_fold_predictions(essays: Essays) -> np.ndarray:
    assert essays.labels_NC is not None
    texts = np.array(essays.texts, dtype=object)
    fold_of_N = np.arange(len(essays)) % 4
    predictions_NC = np.empty(essays.labels_NC.shape)
    for fold in range(4):
        model = make_pipeline(
            make_union(
                TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, lowercase=False),
                TfidfVectorizer(analyzer="char", ngram_range=(1, 3), sublinear_tf=True, lowercase=False),
            ),
            Ridge(alpha=1.0),
        )
        model.fit(texts[fold_of_N != fold], essays.labels_NC[fold_of_N != fold])
        predictions_NC[fold_of_N == fold] = model.predict(texts[fold_of_N == fold])
    return predictions_NC


def test_a_model_learns_the_scores_but_not_perfectly(sample: tuple[Essays, Essays]) -> None:
    train = Essays(sample[0].ids[:300], sample[0].texts[:300], sample[0].labels_NC[:300])  # type: ignore[index]
    assert train.labels_NC is not None
    predictions_NC = _out_of_fold_predictions(train)
    mean_NC = np.broadcast_to(train.labels_NC.mean(axis=0), predictions_NC.shape)
    assert 0.25 < mcrmse(train.labels_NC, predictions_NC) < 0.8 * mcrmse(train.labels_NC, mean_NC)
    each_target = rmse_per_target(train.labels_NC, predictions_NC) / rmse_per_target(train.labels_NC, mean_NC)
    assert each_target.max() < 0.85


def test_each_target_shows_in_its_own_traces(sample: tuple[Essays, Essays]) -> None:
    train, _ = sample
    assert train.labels_NC is not None
    misspellings = {*language.MISSPELLINGS.values()}

    def traces(text: str) -> list[int]:
        return [
            sum(text.count(connective) for connective in (*language.NEXT_CONNECTIVES, *language.EXAMPLE_CONNECTIVES)),
            len(re.findall("(?i)although|given that|which means|since|not only", text)),
            -sum(word in misspellings for word in text.split()),
        ]

    traces_N3 = np.array([traces(text) for text in train.texts])
    for target, trace_N in zip(("cohesion", "syntax", "conventions"), traces_N3.T, strict=True):
        # Each correlates most with its own target, although the targets correlate among themselves.
        correlations = [float(np.corrcoef(trace_N, labels_N)[0, 1]) for labels_N in train.labels_NC.T]
        assert FB3_TARGETS[int(np.argmax(correlations))] == target
        assert max(correlations) > 0.45


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    first = [path.read_bytes() for path in write_sample_data(30, 1, tmp_path / "first")]
    assert [path.read_bytes() for path in write_sample_data(30, 1, tmp_path / "second")] == first
    assert [path.read_bytes() for path in write_sample_data(30, 1, tmp_path / "first")] == first
    longer_train_path, _ = write_sample_data(40, 1, tmp_path / "longer")
    assert longer_train_path.read_bytes().startswith(first[0])
    assert write_sample_data(30, 2, tmp_path / "other")[0].read_bytes() != first[0]


def test_never_replaces_other_data(tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text("mine")
    with pytest.raises(UserError, match=r"test\.csv: sample data never replaces other data"):
        write_sample_data(20, 0, tmp_path)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("test.csv", "mine")]


def test_refuses_too_few_essays_and_a_file_as_directory(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^--essays 19: at least 20 sample essays are needed, .* Ask for 20 or more"):
        write_sample_data(19, 0, tmp_path)
    path = tmp_path / "file"
    path.touch()
    for out_dir in (path, path / "inside"):
        with pytest.raises(
            UserError, match=r"a folder is needed, but this is a file, or lies in one\. Give another --out"
        ):
            write_sample_data(20, 0, out_dir)
    assert path.read_bytes() == b""


_ALL_TEXT = [
    *(clause for topic in language.TOPICS for clause in (topic.opinion, topic.other_side)),
    *(
        clause
        for topic in language.TOPICS
        for point in topic.points
        for clause in (point.claim, point.reason, point.example)
    ),
]


@pytest.mark.parametrize("clause", _ALL_TEXT)
def test_clauses_are_well_formed(clause: str) -> None:
    slots = re.findall(r"\{([^{}]*)\}", clause)
    assert clause.count("{") == clause.count("}") == len(slots)
    for slot in slots:
        kind, options = slot.split(":")
        assert kind in "vgp"
        words = options.split("|")
        assert len(words) == len(set(words)) >= 2 and all(words)
        assert kind == "v" or len(words) == 2
    assert not clause.endswith((".", ",")) and (clause[0].islower() or clause[0] == "{" or clause.startswith("I "))
