"""The soup of the best evaluations' weights, against tables by hand: a model's bias stands for all of its weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ell_tune.trainable import FoldData
from trainables.regressor import Config
from trainables.regressor.averaging.candidate import Candidate
from trainables.regressor.averaging.soup import CheckpointSoup, SoupConfig
from trainables.regressor.building import build_regressor
from trainables.regressor.model import Regressor


@pytest.fixture
def model(make_config: Callable[..., Config], make_fold_data: Callable[..., FoldData]) -> Regressor:
    config = make_config()
    return build_regressor(config, make_fold_data(config).prepared, torch.zeros(2), (1.0, 5.0), seed=0)


def make_soup(folder: Path, **fields: Any) -> CheckpointSoup:
    return CheckpointSoup(SoupConfig.model_validate(fields), ["head.output.bias"], folder)


def offer(soup: CheckpointSoup, model: Regressor, *evaluations: tuple[float, float]) -> None:
    """Evaluations after steps 1, 2, …, each a bias and its score."""
    for step, (bias, score) in enumerate(evaluations, start=1):
        torch.nn.init.constant_(model.head.output.bias, bias)
        soup.offer(model, score, step)


def distance_to(best_bias: float) -> Callable[[Regressor], Candidate]:
    """Scores a model by how far its bias is from the best one."""

    def score(model: Regressor) -> Candidate:
        error = abs(model.head.output.bias.detach().double().numpy() - best_bias)
        return Candidate(model, np.zeros((1, 2), dtype=np.float32), error)

    return score


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_only_the_best_are_kept(model: Regressor, tmp_path: Path) -> None:
    soup = make_soup(tmp_path / "soup", num_checkpoints=2)
    offer(soup, model, (1.0, 0.9), (2.0, 0.7), (3.0, 0.8), (4.0, 0.95))
    assert [(ingredient.score, ingredient.step) for ingredient in soup.ingredients] == [(0.7, 2), (0.8, 3)]
    assert files(tmp_path / "soup") == {"step_2.safetensors", "step_3.safetensors"}


def test_of_equals_the_earlier_stays(model: Regressor, tmp_path: Path) -> None:
    soup = make_soup(tmp_path / "soup", num_checkpoints=2)
    offer(soup, model, (1.0, 0.5), (2.0, 0.5), (3.0, 0.5))
    assert [ingredient.step for ingredient in soup.ingredients] == [1, 2]


def test_the_uniform_soup_is_the_mean_of_all_that_are_kept(model: Regressor, tmp_path: Path) -> None:
    soup = make_soup(tmp_path / "soup", num_checkpoints=3)
    offer(soup, model, (1.0, 0.9), (2.0, 0.7), (3.0, 0.8), (7.0, 0.6))
    cooked = soup.cook(model, distance_to(5.0))
    assert cooked is not None
    assert cooked.model.head.output.bias.tolist() == [4.0, 4.0]  # (7 + 2 + 3) / 3
    assert cooked.score == 1.0
    assert model.head.output.bias.tolist() == [7.0, 7.0]


def test_one_evaluation_is_no_soup(model: Regressor, tmp_path: Path) -> None:
    soup = make_soup(tmp_path / "soup")
    offer(soup, model, (1.0, 0.9))
    assert soup.cook(model, distance_to(1.0)) is None


@pytest.mark.parametrize(
    ("best_bias", "expected"),
    [
        (5.0, 5.0),  # 6 alone: 1. With 4: 5, better. With 2 as well: 4, worse, and left out.
        (4.5, 4.0),  # 6: 1.5. With 4: 5, better. With 2 as well: 4, no worse than .5, and taken.
        (6.0, None),  # 6 alone is best: nothing but what is scored already
        (5.5, 5.0),  # with 4: no worse than .5; with 2: worse
    ],
)
def test_the_greedy_soup_takes_what_does_no_harm(
    model: Regressor, tmp_path: Path, best_bias: float, expected: float | None
) -> None:
    soup = make_soup(tmp_path / "soup", method="greedy")
    score = distance_to(best_bias)
    offer(soup, model, (2.0, 3.0), (4.0, 2.0), (6.0, abs(6.0 - best_bias)))
    soup.ingredients.sort()
    cooked = soup.cook(model, score)
    if expected is None:
        assert cooked is None
    else:
        assert cooked is not None
        # Not the weights of the last try, where that was worse.
        assert cooked.model.head.output.bias.tolist() == [expected, expected]
        assert cooked.score == abs(expected - best_bias)


def test_it_survives_in_a_checkpoint_bit_for_bit(model: Regressor, tmp_path: Path) -> None:
    soup = make_soup(tmp_path / "soup")
    offer(soup, model, (0.1, 0.9), (0.2, 0.7), (0.7, 0.8))
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    saved = soup.write(checkpoint)
    before = soup.cook(model, distance_to(0.0))
    offer(soup, model, (9.0, 0.1))  # goes on, and drops a file that the checkpoint still has
    resumed = make_soup(tmp_path / "resumed")
    resumed.read(checkpoint, saved)
    after = resumed.cook(model, distance_to(0.0))
    assert before is not None and after is not None
    assert torch.equal(after.model.head.output.bias, before.model.head.output.bias)
    assert files(checkpoint) == {f"step_{step}.safetensors" for step in (1, 2, 3)}
    soup.delete()
    assert not (tmp_path / "soup").exists()
