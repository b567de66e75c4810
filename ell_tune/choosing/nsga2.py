"""NSGA-II over score and cost: a search that spreads along the front of the two.

The study itself has one objective, the score: Optuna takes no intermediate scores of a study with two, and nothing
could be stopped early. So only the sampler sees two. Optuna's own NSGA-II reads the trials through `_ScoreAndCost`, and
writes what it remembers (each trial's generation, each generation's parents) past it into the study's journal.
"""

from copy import copy
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from pydantic import Field

from ell_tune.choosing.telling import score_and_cost
from ell_tune.config import StrictConfig
from ell_tune.trials.costs import Cost


class Nsga2Config(StrictConfig):
    """NSGA-II, which spreads along the front of score and cost. Fields under a condition are drawn independently."""

    name: Literal["nsga2"] = "nsga2"
    cost: Cost = Field("seconds_per_essay", description="what is to be low besides the score")
    population_size: int = Field(16, ge=2, description="trials of a generation, and parents of the next one")


class Nsga2(optuna.samplers.NSGAIISampler):
    """Optuna's, over the score and the cost of the trials of a study that has the score alone."""

    def __init__(self, config: Nsga2Config, seed: int) -> None:
        # Optuna's default only passes the parents' numbers on. Blending them gets further in a hundred trials.
        blend = optuna.samplers.nsgaii.BLXAlphaCrossover()
        super().__init__(population_size=config.population_size, crossover=blend, seed=seed)
        self._cost = config.cost

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return super().infer_relative_search_space(self._seen(study), trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return super().sample_relative(self._seen(study), trial, search_space)

    def select_parent(self, study: optuna.Study, generation: int) -> list[FrozenTrial]:
        # In the order in which they are read from the journal: the draws go by their places.
        return sorted(super().select_parent(study, generation), key=lambda trial: trial.number)

    def _seen(self, study: optuna.Study) -> optuna.Study:
        """The study as one of two objectives."""
        told, generation, key = [], 0, self._get_generation_key()
        for trial in study.get_trials(deepcopy=False):
            generation = max(generation, trial.system_attrs.get(key, 0))
            values = score_and_cost(trial, self._cost)
            if values is not None:
                seen = copy(trial)
                seen.state, seen.values = TrialState.COMPLETE, list(values)
                # An enqueued config, or one of another sampler or space, joins the generation of its time.
                seen.system_attrs = {key: generation, **trial.system_attrs}
                told.append(seen)
        return _ScoreAndCost(study, told)


class _ScoreAndCost(optuna.Study):
    """A study in the place of one with a single objective, on the same storage."""

    def __init__(self, study: optuna.Study, told: list[FrozenTrial]) -> None:
        super().__init__(study.study_name, study._storage, study.sampler)
        self._directions = [StudyDirection.MINIMIZE, StudyDirection.MINIMIZE]
        self._told = told

    def _get_trials(self, *_: Any, **__: Any) -> list[FrozenTrial]:
        """The trials that NSGA-II hears of; to it, all of them are complete."""
        return self._told
