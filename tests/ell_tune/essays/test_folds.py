"""Folds: a partition, stratified by score, the same for the same seed, and kept in a file."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from iterstrat.ml_stratifiers import MultilabelStratifiedKFold
from numpy.typing import NDArray

from ell_tune.errors import UserError
from ell_tune.essays.data import Essays
from ell_tune.essays.folds import Folds, load_folds, make_folds, save_folds

Labels = NDArray[np.float32]


def _essays(labels_NC: Labels) -> Essays:
    ids = tuple(f"id{row}" for row in range(len(labels_NC)))
    return Essays(ids, ids, labels_NC)


def _correlated_scores(num_essays: int, num_targets: int, seed: int) -> Labels:
    rng = np.random.default_rng(seed)
    raw_NC = 3.1 + 0.5 * rng.normal(size=(num_essays, 1)) + 0.4 * rng.normal(size=(num_essays, num_targets))
    return np.clip(np.round(raw_NC * 2) / 2, 1, 5).astype(np.float32)


def _share_deviation(labels_NC: Labels, fold_of_N: NDArray[np.int64]) -> float:
    """The largest difference between a score's share in a fold and in the whole, over targets and scores."""
    share_deviations = [
        np.abs((labels_NC[fold_of_N == fold] == score).mean(axis=0) - (labels_NC == score).mean(axis=0)).max()
        for fold in range(int(fold_of_N.max()) + 1)
        for score in np.unique(labels_NC)
    ]
    return float(max(share_deviations))


def _mean_deviation(labels_NC: Labels, fold_of_N: NDArray[np.int64]) -> float:
    """The largest difference between a target's mean score in a fold and in the whole."""
    fold_means = np.array([labels_NC[fold_of_N == fold].mean(axis=0) for fold in np.unique(fold_of_N)])
    return float(np.abs(fold_means - labels_NC.mean(axis=0)).max())


def test_stratifies_where_raw_scores_do_not() -> None:
    ours: list[tuple[float, float]] = []
    raw: list[tuple[float, float]] = []
    for seed in range(6):
        labels_NC = _correlated_scores(num_essays=400, num_targets=6, seed=seed)
        our_folds = make_folds(_essays(labels_NC), 4, seed)
        splitter = MultilabelStratifiedKFold(n_splits=4, shuffle=True, random_state=seed)
        raw_fold_of_N = np.empty(400, dtype=np.int64)
        for fold, (_, valid_rows) in enumerate(splitter.split(labels_NC, labels_NC)):
            raw_fold_of_N[valid_rows] = fold
        for deviations, fold_of_N in ((ours, our_folds.fold_of_N), (raw, raw_fold_of_N)):
            deviations.append((_share_deviation(labels_NC, fold_of_N), _mean_deviation(labels_NC, fold_of_N)))
    our_share, our_mean = np.mean(ours, axis=0)
    raw_share, raw_mean = np.mean(raw, axis=0)
    assert our_share < 0.07 and our_share < 0.7 * raw_share
    assert our_mean < 0.05 and our_mean < 0.5 * raw_mean


def test_stratifies_one_continuous_target() -> None:
    labels_NC = np.random.default_rng(0).normal(3, 0.6, size=(200, 1)).astype(np.float32)
    folds = make_folds(_essays(labels_NC), 5, seed=0)
    edges = np.quantile(labels_NC, [0.2, 0.4, 0.6, 0.8])
    for fold in range(5):
        per_fifth = np.bincount(np.searchsorted(edges, labels_NC[folds.valid_rows(fold), 0]), minlength=5)
        assert per_fifth.tolist() == [8, 8, 8, 8, 8]


_labels_and_num_folds = st.tuples(st.integers(2, 12), st.integers(1, 7)).flatmap(
    lambda shape: st.tuples(
        arrays(np.float32, shape, elements=st.sampled_from([1, 1.5, 2, 3, 5]) | st.floats(1, 5, width=32)),
        st.integers(2, shape[0]),
    )
)


@given(_labels_and_num_folds, st.integers(0, 2**32 - 1))
def test_folds_partition_the_essays(labels_and_num_folds: tuple[Labels, int], seed: int) -> None:
    labels_NC, num_folds = labels_and_num_folds
    folds = make_folds(_essays(labels_NC), num_folds, seed)
    assert folds.num_folds == num_folds
    all_valid_rows = np.concatenate([folds.valid_rows(fold) for fold in range(num_folds)])
    assert sorted(all_valid_rows) == list(range(len(labels_NC)))
    for fold in range(num_folds):
        assert len(folds.valid_rows(fold)) >= 1
        assert sorted([*folds.train_rows(fold), *folds.valid_rows(fold)]) == list(range(len(labels_NC)))


@pytest.mark.parametrize("num_targets", [1, 6])
def test_equal_and_unique_scores_are_spread_evenly(num_targets: int) -> None:
    for labels_NC in (np.full((12, num_targets), 3.0), np.tile(np.arange(12.0)[:, None], num_targets)):
        folds = make_folds(_essays(labels_NC.astype(np.float32)), 4, seed=0)
        assert np.bincount(folds.fold_of_N).tolist() == [3, 3, 3, 3]


def test_depends_on_the_seed_alone() -> None:
    essays = _essays(_correlated_scores(num_essays=60, num_targets=2, seed=0))
    first = make_folds(essays, 3, seed=7)
    state_before = np.random.get_state()
    np.random.seed(123)
    second = make_folds(essays, 3, seed=7)
    np.random.set_state(state_before)
    assert first.fold_of_N.tolist() == second.fold_of_N.tolist()
    assert first.fingerprint == second.fingerprint
    assert make_folds(essays, 3, seed=8).fingerprint != first.fingerprint


@pytest.fixture
def essays() -> Essays:
    return _essays(_correlated_scores(num_essays=30, num_targets=2, seed=0))


def _assert_same(left: Folds, right: Folds) -> None:
    assert left.fold_of_N.tolist() == right.fold_of_N.tolist()
    assert (left.num_folds, left.fingerprint) == (right.num_folds, right.fingerprint)


def test_saved_folds_load_again(tmp_path: Path, essays: Essays) -> None:
    folds = make_folds(essays, 3, seed=0)
    path = tmp_path / "folds.csv"
    save_folds(path, essays, folds)
    assert path.read_text().splitlines()[:2] == ["id,fold", f"id0,{folds.fold_of_N[0]}"]
    _assert_same(load_folds(path, essays), folds)


def test_order_of_rows_does_not_matter(tmp_path: Path, essays: Essays) -> None:
    folds = make_folds(essays, 3, seed=0)
    path = tmp_path / "folds.csv"
    save_folds(path, essays, folds)
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, *reversed(rows)]))
    _assert_same(load_folds(path, essays), folds)
    assert essays.labels_NC is not None
    reordered = Essays(essays.ids[::-1], essays.texts[::-1], essays.labels_NC[::-1])
    loaded = load_folds(path, reordered)
    assert loaded.fold_of_N.tolist() == folds.fold_of_N[::-1].tolist()
    assert loaded.fingerprint == folds.fingerprint


THREE = Essays(("a", "b", "c"), ("x", "y", "z"), np.array([[1], [2], [3]], dtype=np.float32))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id,fold\na,0\nb,1\n", r"the essays given, but 1 of 3 essays have no fold \('c'\)\. Give"),
        (
            "id,fold\na,0\nB,1\nd,0\ne,1\nf,1\ng,0\n",
            r"2 of 3 essays have no fold \('b'; 'c'\) and 5 ids in it are no essays \('B'; 'd'; 'e'",
        ),
        ("id,fold\na,0\nb,2\nc,0\n", "at least two folds 0, 1, 2, … without a gap, but it has 0, 2"),
        ("id,fold\na,1\nb,2\nc,1\n", "without a gap, but it has 1, 2"),
        ("id,fold\na,0\nb,0\nc,0\n", "at least two folds 0, 1, 2, … without a gap, but it has 0"),
        ("id,fold\na,0\nb,1.0\nc,-1\n", r"but row 2 \(id 'b'\) has '1.0'; row 3 \(id 'c'\) has '-1'"),
        ("id,fold\na,0\nb,1\na,1\nc,1\n", "but row 3 repeats the id 'a'"),
        ("text_id,kfold\na,0\n", r"the file lacks 'id'.*, 'fold' \(nearest: 'kfold'\)"),
    ],
)
def test_refuses_folds_that_do_not_fit(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "folds.csv"
    path.write_text(content)
    with pytest.raises(UserError, match=message) as error:
        load_folds(path, THREE)
    assert str(error.value).startswith(f"{path}: ")
