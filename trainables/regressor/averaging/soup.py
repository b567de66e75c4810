"""The average of the best evaluations' weights: a soup of checkpoints.

Wortsman et al. (2022), Model Soups: Averaging Weights of Multiple Fine-tuned Models Improves Accuracy without
Increasing Inference Time. There the ingredients are fits with other hyperparameters, here the evaluations of one fit.
"""

import copy
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import Tensor

from ell_tune.config import StrictConfig
from trainables.regressor.averaging.candidate import Candidate
from trainables.regressor.averaging.parameter_values import parameter_values, set_parameters
from trainables.regressor.model import Regressor
from trainables.regressor.weight_files import link_or_copy


class SoupConfig(StrictConfig):
    """How many evaluations' weights are averaged, and how they are chosen."""

    num_checkpoints: int = Field(
        default=3,
        ge=2,
        le=20,
        description="the best so many evaluations' weights are kept, on disk and in checkpoints; all, where there are "
        "fewer",
    )
    method: Literal["uniform", "greedy"] = Field(
        default="uniform",
        description="average all that are kept, or, from the best down, those that do not make the score worse",
    )


@dataclass(frozen=True, order=True)
class Ingredient:
    """An evaluation whose weights are kept. The best sort first, and the earlier of equals."""

    score: float
    step: int

    @property
    def file_name(self) -> str:
        return f"step_{self.step}.safetensors"


class CheckpointSoup:
    """The weights of the best evaluations, in files of their own, and their average."""

    def __init__(self, config: SoupConfig, trained_names: Sequence[str], folder: Path) -> None:
        """A soup of the named parameters. Makes `folder`, which must not be there yet."""
        folder.mkdir()
        self.ingredients: list[Ingredient] = []  # the best first
        self._config = config
        self._trained_names = trained_names
        self._folder = folder

    def offer(self, model: Regressor, score: float, step: int) -> None:
        """Keeps the weights after `step` steps if their score is among the best so far."""
        offered = Ingredient(score, step)
        ranked = sorted([*self.ingredients, offered])
        self.ingredients = ranked[: self._config.num_checkpoints]
        if offered in self.ingredients:
            tensors = {
                name: tensor.contiguous() for name, tensor in parameter_values(model, self._trained_names).items()
            }
            save_file(tensors, self._folder / offered.file_name)
            for dropped in ranked[self._config.num_checkpoints :]:
                (self._folder / dropped.file_name).unlink()

    def cook(self, model: Regressor, score: Callable[[Regressor], Candidate]) -> Candidate | None:
        """The soup, scored; None while it would be a single evaluation's weights, which are scored already.

        Takes as much memory as `model` once more, until the result is dropped; `model` gives the parameters that are
        not trained. The greedy soup is scored once for every ingredient but the best.
        """
        if len(self.ingredients) < 2:
            return None
        soup = copy.deepcopy(model)
        if self._config.method == "uniform":
            set_parameters(soup, self._mean(self.ingredients))
            return score(soup)
        chosen, best_score, best = self.ingredients[:1], self.ingredients[0].score, None
        for ingredient in self.ingredients[1:]:
            set_parameters(soup, self._mean([*chosen, ingredient]))
            candidate = score(soup)
            if candidate.score <= best_score:
                chosen, best_score, best = [*chosen, ingredient], candidate.score, candidate
        if best is not None:  # its model is `soup`, which a later and worse try has overwritten
            set_parameters(soup, self._mean(chosen))
        return best

    def write(self, folder: Path) -> list[dict[str, Any]]:
        """Gives a checkpoint's folder the weights; what `read` needs to know of them."""
        _link_files(self._folder, folder, self.ingredients)
        return [{"score": ingredient.score, "step": ingredient.step} for ingredient in self.ingredients]

    def read(self, folder: Path, ingredients: Iterable[dict[str, Any]]) -> None:
        """Takes the weights from a folder that `write` filled, with what it returned."""
        self.ingredients = [Ingredient(**ingredient) for ingredient in ingredients]
        _link_files(folder, self._folder, self.ingredients)

    def delete(self) -> None:
        """Removes the files: the fit is over."""
        shutil.rmtree(self._folder)

    def _mean(self, ingredients: list[Ingredient]) -> dict[str, Tensor]:
        first, *rest = (self._folder / ingredient.file_name for ingredient in ingredients)
        mean = load_file(first)
        for path in rest:  # two sets of weights in memory at a time, however many there are
            for name, tensor in load_file(path).items():
                mean[name] += tensor
        for tensor in mean.values():
            tensor /= len(ingredients)
        return mean


def _link_files(source: Path, destination: Path, ingredients: list[Ingredient]) -> None:
    for ingredient in ingredients:
        target = destination / ingredient.file_name
        target.unlink(missing_ok=True)
        link_or_copy(source / ingredient.file_name, target)
