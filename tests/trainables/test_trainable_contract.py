"""The contract of `ell_tune/trainable.py`, for every trainable that ell-tune ships."""

import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fits import Stop, without_throughput

from ell_tune.config import InvalidConfig, StrictConfig, validate
from ell_tune.essays.metrics import mcrmse
from ell_tune.trainable import (
    MEASURES,
    Checkpoints,
    FoldData,
    FoldResult,
    Progress,
    Trainable,
    load_trainable,
    measured,
)

MakeCheckpoints = Callable[..., Any]

NAMES = ["trainables.regressor", "trainables.frozen_features"]
VALID_ROWS = np.array([33, 30, 39, 36, 31])  # in no order of their own


def small_config(name: str, backbone: str) -> dict[str, Any]:
    text = {"max_length": 64}
    if name == "trainables.frozen_features":
        return {"encoder": {"backbone": {"name": backbone}, "text": text}}
    training = {"num_epochs": 2, "evaluations": 4}
    return {"backbone": {"name": backbone}, "text": text, "optimizer": {"head_lr": 1e-2}, "training": training}


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def trainable(name: str) -> Trainable:
    return load_trainable(name)


@pytest.fixture
def config(name: str, trainable: Trainable, tiny_deberta: Path) -> StrictConfig:
    return validate(trainable.Config, small_config(name, str(tiny_deberta)))


@pytest.fixture
def fold_data(trainable: Trainable, config: StrictConfig, essays: list[str]) -> FoldData:
    """Prepared essays come out of Ray's object store, whose arrays are read-only."""
    buffers: list[pickle.PickleBuffer] = []
    stored = pickle.dumps(
        trainable.prepare(trainable.preparation(config), essays), protocol=5, buffer_callback=buffers.append
    )
    share_NC = np.array([[e.count(word) / len(e.split()) for word in ("because", "good")] for e in essays])
    return FoldData(
        prepared=pickle.loads(stored, buffers=[bytes(buffer) for buffer in buffers]),
        labels_NC=(2 + 10 * share_NC).astype(np.float32),
        train_rows=np.arange(30),
        valid_rows=VALID_ROWS,
        targets=("reasons", "praise"),
        score_range=(1.0, 5.0),
        seed=7,
    )


def test_what_it_says_to_measure_it_reports(
    trainable: Trainable, config: StrictConfig, fold_data: FoldData, make_checkpoints: MakeCheckpoints
) -> None:
    curve: list[Progress] = []
    trainable.fit(config, fold_data, make_checkpoints(), curve.append)
    # The worker adds the memory of the process; a regressor reports a GPU's.
    assert all(progress.metrics[name] > 0 for progress in curve for name in measured(trainable) - {"peak_memory_mib"})
    assert measured(trainable) == set(MEASURES)


def fit(
    trainable: Trainable, config: StrictConfig, fold_data: FoldData, checkpoints: Checkpoints
) -> tuple[list[Progress], FoldResult]:
    curve: list[Progress] = []
    result = trainable.fit(config, fold_data, checkpoints, curve.append)
    return without_throughput(curve), result


def test_the_config_is_strict_and_survives_a_file(trainable: Trainable, config: StrictConfig) -> None:
    assert validate(trainable.Config, config.model_dump(mode="json")) == config
    assert validate(trainable.Config, validate(trainable.Config, {}).model_dump(mode="json")) == trainable.Config()
    with pytest.raises(InvalidConfig, match="no_such_field: there is no such field"):
        validate(trainable.Config, {"no_such_field": 1})


def test_the_preparation_is_the_same_for_the_same_config(trainable: Trainable, config: StrictConfig) -> None:
    again = validate(trainable.Config, config.model_dump())
    key = trainable.preparation(config).model_dump_json()
    assert trainable.preparation(again).model_dump_json() == key
    assert trainable.preparation(trainable.Config()).model_dump_json() != key


def test_every_evaluation_is_reported_and_the_best_is_the_result(
    trainable: Trainable, config: StrictConfig, fold_data: FoldData, make_checkpoints: MakeCheckpoints
) -> None:
    curve, result = fit(trainable, config, fold_data, make_checkpoints())
    assert [progress.step for progress in curve] == list(range(1, curve[0].num_steps + 1))
    assert {progress.num_steps for progress in curve} == {len(curve)}
    assert result.score == min(progress.score for progress in curve)
    assert result.score == mcrmse(fold_data.labels_NC[VALID_ROWS], result.oof_MC)
    assert (result.oof_MC.dtype, result.oof_MC.shape) == (np.float32, (5, 2))
    assert np.ptp(result.oof_MC, axis=0).min() > 0  # no constants
    best = min(curve, key=lambda progress: progress.score)
    rmse_C = np.sqrt(np.mean((result.oof_MC.astype(np.float64) - fold_data.labels_NC[VALID_ROWS]) ** 2, axis=0))
    assert [best.metrics["rmse_reasons"], best.metrics["rmse_praise"]] == pytest.approx(list(rmse_C))


def test_predictions_are_in_the_order_of_the_validation_rows(
    trainable: Trainable, config: StrictConfig, fold_data: FoldData, make_checkpoints: MakeCheckpoints
) -> None:
    _, result = fit(trainable, config, fold_data, make_checkpoints("as_given"))
    _, other = fit(trainable, config, replace(fold_data, valid_rows=VALID_ROWS[::-1]), make_checkpoints("reversed"))
    np.testing.assert_allclose(other.oof_MC[::-1], result.oof_MC, atol=1e-5)


def test_the_weights_folder_alone_predicts_what_was_scored(
    trainable: Trainable,
    config: StrictConfig,
    fold_data: FoldData,
    make_checkpoints: MakeCheckpoints,
    essays: list[str],
    tmp_path: Path,
) -> None:
    _, result = fit(trainable, config, fold_data, make_checkpoints())
    moved = result.weights_dir.rename(tmp_path / "moved")
    assert not [path.name for path in moved.rglob("*") if path.suffix in {".pkl", ".pickle", ".joblib", ".bin", ".pt"}]
    texts = [essays[row] for row in VALID_ROWS]
    np.testing.assert_allclose(trainable.predict(moved, texts), result.oof_MC, atol=1e-5)
    np.testing.assert_allclose(trainable.predict(moved, texts[1:3]), result.oof_MC[1:3], atol=1e-5)
    assert trainable.predict(moved, []).shape == (0, 2)


def test_the_same_fit_gives_the_same_bits(
    trainable: Trainable, config: StrictConfig, fold_data: FoldData, make_checkpoints: MakeCheckpoints
) -> None:
    curve, result = fit(trainable, config, fold_data, make_checkpoints("once"))
    again, other = fit(trainable, config, fold_data, make_checkpoints("twice"))
    assert again == curve
    assert np.array_equal(other.oof_MC, result.oof_MC)


def test_every_evaluation_is_saved_before_it_is_reported(
    trainable: Trainable, config: StrictConfig, fold_data: FoldData, make_checkpoints: MakeCheckpoints
) -> None:
    checkpoints = make_checkpoints()
    num_saved: list[int] = []
    trainable.fit(config, fold_data, checkpoints, lambda progress: num_saved.append(len(checkpoints.saved)))
    assert num_saved == list(range(1, len(num_saved) + 1))


@pytest.mark.parametrize("stop_at_last", [False, True])
def test_a_fit_that_was_killed_repeats_its_report_and_ends_as_if_nothing_had_been(
    trainable: Trainable,
    config: StrictConfig,
    fold_data: FoldData,
    make_checkpoints: MakeCheckpoints,
    stop_at_last: bool,
) -> None:
    curve, whole = fit(trainable, config, fold_data, make_checkpoints("whole"))
    stop_at = len(curve) if stop_at_last else 1
    heard: list[Progress] = []

    def report(progress: Progress) -> None:
        heard.append(progress)
        if progress.step == stop_at:
            raise Stop

    first = make_checkpoints("first")
    with pytest.raises(Stop):
        trainable.fit(config, fold_data, first, report)
    # Another machine: nothing but what was saved last.
    continued, result = fit(trainable, config, fold_data, make_checkpoints("second", first.saved[-1:]))
    assert without_throughput(heard) == curve[:stop_at]
    assert continued == curve[stop_at - 1 :]
    assert result.score == whole.score
    assert np.array_equal(result.oof_MC, whole.oof_MC)


def test_an_older_fits_files_do_no_harm(
    trainable: Trainable,
    config: StrictConfig,
    fold_data: FoldData,
    make_checkpoints: MakeCheckpoints,
    essays: list[str],
) -> None:
    older = replace(fold_data, labels_NC=fold_data.labels_NC[:, :1] + 1, targets=("reasons",))
    _, outdated = fit(trainable, config, older, make_checkpoints("older"))
    checkpoints = make_checkpoints("newer")
    shutil.copytree(outdated.weights_dir, checkpoints.weights_dir, dirs_exist_ok=True)
    _, result = fit(trainable, config, fold_data, checkpoints)
    predicted = trainable.predict(result.weights_dir, [essays[row] for row in VALID_ROWS])
    np.testing.assert_allclose(predicted, result.oof_MC, atol=1e-5)
