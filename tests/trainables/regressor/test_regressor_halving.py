"""Pieces that do not fit into memory are halved; what is computed from them stays the same."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from small_device import SmallDevice
from torch import Tensor

from ell_tune.trainable import FoldData
from trainables.regressor import Config
from trainables.regressor.building import build_regressor
from trainables.regressor.encoder import frozen_states, state_files
from trainables.regressor.encoder.frozen_states import open_frozen_states
from trainables.regressor.encoder.precision import Precision
from trainables.regressor.encoder.reader import EssayReader
from trainables.regressor.halving import halved_until_it_fits, in_pieces
from trainables.regressor.head.ridge_head import fit_head_by_ridge
from trainables.regressor.predicting import predict_rows

CPU = torch.device("cpu")
FP32 = Precision("fp32", CPU)
MakeConfig = Callable[..., Config]
MakeFoldData = Callable[..., FoldData]


@pytest.mark.parametrize(
    ("size", "limit", "tried"),
    [(8, 8, [8]), (8, 3, [8, 4, 2]), (7, 2, [7, 4, 2]), (5, 1, [5, 3, 2, 1]), (1, 1, [1]), (4, 0, [4, 2, 1])],
)
def test_sizes_are_halved_until_one_fits(size: int, limit: int, tried: list[int]) -> None:
    seen: list[int] = []

    def attempt(size: int) -> str:
        seen.append(size)
        if size > limit:
            raise torch.OutOfMemoryError
        return "done"

    if limit == 0:
        with pytest.raises(torch.OutOfMemoryError):
            halved_until_it_fits(attempt, size)
    else:
        assert halved_until_it_fits(attempt, size) == ("done", tried[-1])
    assert seen == tried


def test_other_errors_are_not_tried_again() -> None:
    seen: list[int] = []

    def attempt(size: int) -> None:
        seen.append(size)
        raise RuntimeError("expected scalar type Float")

    with pytest.raises(RuntimeError, match="expected scalar type Float"):
        halved_until_it_fits(attempt, 8)
    assert seen == [8]


@pytest.mark.parametrize(
    ("num_rows", "size", "limits", "expected"),
    [
        (0, 4, [], []),
        (5, 4, [4, 4], [[0, 1, 2, 3], [4]]),
        (5, 4, [3, 3, 3, 3], [[0, 1], [2, 3], [4]]),
        # Memory runs out in the middle: no larger piece is tried again, though there is room.
        (8, 4, [4, 2, 9, 9], [[0, 1, 2, 3], [4, 5], [6, 7]]),
        (3, 32, [1, 1, 1, 1, 1], [[0], [1], [2]]),
    ],
)
def test_every_row_is_in_one_piece_that_fits(
    num_rows: int, size: int, limits: list[int], expected: list[list[int]]
) -> None:
    left = iter(limits)  # of each attempt; more would end the test

    def compute(piece: NDArray[np.int64]) -> list[int]:
        if len(piece) > next(left):
            raise torch.OutOfMemoryError
        return piece.tolist()

    assert in_pieces(compute, np.arange(num_rows), size) == expected


@pytest.mark.parametrize(
    ("batch_size", "tried"), [(32, [10, 5, 3, 3, 3, 1]), (4, [4, 2, 2, 2, 2, 2]), (3, [3, 3, 3, 1])]
)
def test_scores_do_not_depend_on_what_fits(
    make_config: MakeConfig,
    make_fold_data: MakeFoldData,
    monkeypatch: pytest.MonkeyPatch,
    batch_size: int,
    tried: list[int],
) -> None:
    config = make_config()
    fold_data = make_fold_data(config)
    model = build_regressor(config, fold_data.prepared, torch.zeros(2), (1.0, 5.0), seed=0)
    reader = EssayReader(fold_data.prepared, CPU)
    expected_MC = predict_rows(model, reader, fold_data.valid_rows, 10, FP32)
    device = SmallDevice(limit=3).install(monkeypatch)
    found_MC = predict_rows(model, reader, fold_data.valid_rows, batch_size, FP32)
    np.testing.assert_allclose(found_MC, expected_MC, rtol=1e-5, atol=1e-6)
    assert device.eval_sizes == tried


def test_a_ridge_head_does_not_depend_on_what_fits(
    make_config: MakeConfig, make_fold_data: MakeFoldData, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config()
    fold_data, rows = make_fold_data(config), np.arange(30)

    def ridge_weight() -> Tensor:
        model = build_regressor(config, fold_data.prepared, torch.full((2,), 3.0), (1.0, 5.0), seed=0)
        reader = EssayReader(fold_data.prepared, CPU)
        fit_head_by_ridge(model, reader, rows, fold_data.labels_NC[rows], 3.0, batch_size=16, precision=FP32)
        return model.head.output.weight.detach()

    expected = ridge_weight()
    device = SmallDevice(limit=4).install(monkeypatch)
    torch.testing.assert_close(ridge_weight(), expected, rtol=1e-4, atol=1e-5)
    assert device.eval_sizes == [16, 8, *[4] * 7, 2]


def test_states_of_frozen_layers_do_not_depend_on_what_fits(
    make_config: MakeConfig, make_fold_data: MakeFoldData, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = make_config()
    essays, rows = make_fold_data(config).prepared, np.arange(40)
    model = build_regressor(config, essays, torch.zeros(2), (1.0, 5.0), seed=0).requires_grad_(False).eval()
    hidden_states = frozen_states.hidden_states
    sizes: list[int] = []

    def limited(backbone: Any, inputs: Tensor, *args: Any, **options: Any) -> Any:
        sizes.append(len(inputs))
        if len(inputs) > limit:
            raise torch.OutOfMemoryError
        return hidden_states(backbone, inputs, *args, **options)

    monkeypatch.setattr(frozen_states, "hidden_states", limited)
    found = {}
    for limit in (16, 5):
        folder = tmp_path / str(limit)
        folder.mkdir()
        monkeypatch.setattr(state_files.tempfile, "gettempdir", lambda folder=folder: str(folder))
        kept = open_frozen_states(model.encoders["first"], essays["first"], FP32)
        assert kept is not None
        (found[limit],) = kept.read(rows, CPU)
        kept.read(rows, CPU)  # is there now
    torch.testing.assert_close(found[5], found[16], rtol=1e-5, atol=1e-6)
    assert sizes == [16, 16, 8, *[16, 8, 4, 4, 4, 4] * 2, 8, 4, 4]
