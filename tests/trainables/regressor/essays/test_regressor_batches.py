import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ell_tune.errors import BadConfig
from trainables.regressor.essays.batches import length_grouped_batches, longest_first, pad
from trainables.regressor.essays.text import TokenisedEssays
from trainables.regressor.fit.plan import TrainingConfig, TrainingPlan

CPU = torch.device("cpu")


def random_lengths(num_essays: int) -> NDArray[np.int64]:
    return np.random.default_rng(0).integers(10, 500, size=num_essays)


@given(st.integers(1, 300), st.integers(1, 20), st.integers(0, 3), st.integers(0, 3))
def test_every_row_is_in_one_batch(num_rows: int, batch_size: int, seed: int, epoch: int) -> None:
    rows = np.arange(5, 5 + num_rows)
    batches = length_grouped_batches(rows, random_lengths(400), batch_size, seed, epoch)
    assert sorted(np.concatenate(batches)) == rows.tolist()
    assert len(batches) == -(-num_rows // batch_size)
    assert sum(len(batch) < batch_size for batch in batches) == (num_rows % batch_size > 0)


def test_batches_group_lengths_and_their_order_is_random() -> None:
    lengths = random_lengths(400)
    batches = length_grouped_batches(np.arange(400), lengths, 8, seed=1, epoch=0)
    padded = sum(len(batch) * lengths[batch].max() for batch in batches)
    in_order = sum(8 * lengths[start : start + 8].max() for start in range(0, 400, 8))
    assert padded < 1.05 * lengths.sum() < in_order
    longest = np.array([lengths[batch].max() for batch in batches])
    assert 0.3 < np.mean(np.diff(longest) > 0) < 0.7
    assert all((np.diff(lengths[batch]) <= 0).all() for batch in batches)


def test_batches_follow_from_seed_and_epoch() -> None:
    def batches(seed: int, epoch: int) -> list[list[int]]:
        return [b.tolist() for b in length_grouped_batches(np.arange(50), random_lengths(50), 8, seed, epoch)]

    assert batches(1, 0) == batches(1, 0)
    assert batches(1, 0) != batches(1, 1)
    assert batches(1, 0) != batches(2, 0)


def test_longest_first_keeps_the_order_of_equals() -> None:
    assert longest_first(np.array([3, 5, 3, 9, 5])).tolist() == [3, 1, 4, 0, 2]


def test_pad_trims_to_the_longest_of_the_batch() -> None:
    essays = TokenisedEssays(
        tokens=np.array([1, 2, 1, 7, 8, 2, 1, 9, 2], dtype=np.int32),
        ends=np.array([0, 2, 0, 1, 0, 2, 0, 0, 2], dtype=np.uint8),
        offsets=np.array([0, 2, 6, 9]),
        pad_token_id=4,
        vocab_size=10,
        added_token_ids=(),
        max_length=512,
        tokenizer_files={},
    )
    batch = pad(essays, np.array([2, 0]), CPU)
    assert batch.tokens_BT.tolist() == [[1, 9, 2], [1, 2, 4]]
    assert batch.mask_BT.tolist() == [[True, True, True], [True, True, False]]
    assert batch.ends_BT.tolist() == [[0, 0, 2], [0, 2, 0]]
    assert (batch.tokens_BT.dtype, batch.mask_BT.dtype, batch.ends_BT.dtype) == (torch.int64, torch.bool, torch.uint8)


def plan(num_rows: int = 22, **training: int | None) -> TrainingPlan:
    config = TrainingConfig.model_validate({"num_epochs": 2, "batch_size": 8, "evaluations": 1} | training)
    return TrainingPlan(config, np.arange(num_rows), random_lengths(num_rows), seed=0)


def test_each_epoch_sees_every_row_once() -> None:
    two_epochs = plan()
    assert two_epochs.num_steps == 6
    epochs = [
        np.concatenate([rows for step in steps for rows in two_epochs.micro_batches(step, 8)])
        for steps in (range(3), range(3, 6))
    ]
    assert [sorted(rows) for rows in epochs] == [list(range(22))] * 2
    assert epochs[0].tolist() != epochs[1].tolist()


def test_micro_batches_are_pieces_of_the_window() -> None:
    planned = plan()
    for step in range(planned.num_steps):
        (window,) = planned.micro_batches(step, 8)
        assert np.concatenate(planned.micro_batches(step, 3)).tolist() == window.tolist()
        sizes = [len(rows) for rows in planned.micro_batches(step, 3)]
        assert sizes == ([3, 3, 2] if len(window) == 8 else [3, 3])


@pytest.mark.parametrize(
    ("evaluations", "after_steps"), [(1, [6]), (2, [3, 6]), (4, [1, 3, 4, 6]), (6, [1, 2, 3, 4, 5, 6])]
)
def test_evaluations_at_equal_fractions(evaluations: int, after_steps: list[int]) -> None:
    planned = plan(evaluations=evaluations)
    found = {step + 1: planned.evaluation_after(step) for step in range(6) if planned.evaluation_after(step)}
    assert found == dict(zip(after_steps, range(1, evaluations + 1), strict=True))


def test_more_evaluations_than_steps() -> None:
    message = (
        r"training.evaluations: .*there are 6 \(training.num_epochs=2 times 3 for 22 essays at "
        r"training.batch_size=8\), but it is 7"
    )
    with pytest.raises(BadConfig, match=message):
        plan(evaluations=7)


def test_a_micro_batch_larger_than_the_batch() -> None:
    with pytest.raises(ValueError, match="micro_batch_size must be at most batch_size, but they are 9 and 8"):
        plan(micro_batch_size=9)
