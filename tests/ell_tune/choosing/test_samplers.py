"""A suggestion depends on the seed, the trial's number and the study's trials, and on nothing else."""

import math
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest
from plain_engine import Killed, run_all
from studies import make_source, write_space

from ell_tune.choosing.nsga2 import Nsga2Config
from ell_tune.choosing.samplers import CmaEsConfig, GpConfig, QmcConfig, RandomConfig, TpeConfig, make_sampler
from ell_tune.choosing.search_spec import StudyConfig, load_search_spec
from ell_tune.config import StrictConfig, validate
from ell_tune.errors import UserError
from ell_tune.running.jobs import EndKind, JobEnd, JobSource
from ell_tune.runs.budget import Budget
from ell_tune.spaces.space import Alternative, Choice, Numeric, Space
from ell_tune.studies.study import Study
from ell_tune.trainable import Progress
from ell_tune.trials.trial_attributes import DUPLICATE_OF, USAGE

SPACE = Space(
    {"x": 1.0, "y": 1, "swa": None},
    {
        "x": Numeric("log", 1e-3, 1e3),
        "y": Numeric("int", 0, 20),
        "swa": Choice((Alternative("off", None), Alternative("on", {"frac": 0.5}, {"frac": Numeric("float", 0, 1)}))),
    },
)
CONFIGS: dict[str, StrictConfig] = {
    "tpe": TpeConfig(num_startup_trials=3),
    "tpe, multivariate": TpeConfig(num_startup_trials=3, multivariate=True),
    "gp": GpConfig(num_startup_trials=3),
    "cma_es": CmaEsConfig(num_startup_trials=3),
    "nsga2": Nsga2Config(cost="seconds", population_size=3),
    "qmc": QmcConfig(),
    "random": RandomConfig(),
}
# Each of the Gaussian process's suggestions fits its kernel.
every_sampler = pytest.mark.parametrize(
    "config",
    [
        pytest.param(config, id=name, marks=[pytest.mark.slow] if name == "gp" else [])
        for name, config in CONFIGS.items()
    ],
)


def loss(config: dict[str, Any]) -> float:
    """The best is x = 10, y = 0."""
    return abs(math.log10(config["x"]) - 1) + config["y"] / 10


def tell(study: optuna.Study, trial: optuna.Trial, score: float) -> None:
    """Ends a trial of one evaluation, the shorter the larger its y."""
    trial.set_user_attr(USAGE, {"num_steps": 1, "step_seconds": {"1": 30.0 - trial.params["y"]}})
    trial.report(score, 1)
    study.tell(trial, score)


def suggestions(config: StrictConfig, seed: int, num_trials: int) -> list[dict[str, Any]]:
    """What a study's first trials are, each told its loss."""
    study = optuna.create_study()
    params = []
    for number in range(num_trials):
        study.sampler = make_sampler(config, seed, number)
        trial = study.ask()
        tell(study, trial, loss(SPACE.suggest(trial)))
        params.append(trial.params)
    return params


@every_sampler
def test_the_same_seed_makes_the_same_search(config: StrictConfig) -> None:
    assert suggestions(config, seed=1, num_trials=5) == suggestions(config, seed=1, num_trials=5)


@every_sampler
def test_other_seeds_and_other_trials_get_other_suggestions(config: StrictConfig) -> None:
    num_trials = 3 if isinstance(config, Nsga2Config) else 5  # from the fourth on, children have their parents' values
    first, second = suggestions(config, 1, num_trials), suggestions(config, 2, num_trials)
    assert len({params["x"] for params in first + second}) == 2 * num_trials


@pytest.mark.parametrize(
    "config", [config for config in CONFIGS.values() if not isinstance(config, CmaEsConfig)]
)  # draws by the number
def test_a_fresh_sampler_suggests_the_same_for_the_same_study(config: StrictConfig) -> None:
    """Nothing that a sampler has done before enters a suggestion, so a search can go on in a new process."""
    study = optuna.create_study()
    for number in range(8):
        study.sampler = make_sampler(RandomConfig(), 3, number)
        trial = study.ask()
        SPACE.suggest(trial)
        tell(study, trial, float(number))
    twins = []
    for _ in range(2):
        study.sampler = make_sampler(config, 3, 8)
        trial = study.ask()
        SPACE.suggest(trial)
        twins.append(trial.params)
        study._storage.set_trial_state_values(trial._trial_id, optuna.trial.TrialState.FAIL)  # TPE ignores failed ones
    assert twins[0] == twins[1]


def test_tpe_comes_nearer_to_the_best_than_chance() -> None:
    def mean_loss(config: StrictConfig) -> float:
        late = [params for seed in range(3) for params in suggestions(config, seed, 30)[10:]]
        return sum(loss(params) for params in late) / len(late)

    assert mean_loss(TpeConfig(num_startup_trials=8)) < 0.7 * mean_loss(RandomConfig())


def source_of(folder: Path, config: StrictConfig, num_trials: int, **settings: Any) -> tuple[JobSource, Study]:
    """A real search by a sampler. All trials run to their end, so that CMA-ES, which knows no others, learns."""
    study = {"num_folds": 2, "scheduler": False, "sampler": config.model_dump(), **settings}
    return make_source(folder, Budget(num_trials), study=study)


def decisions(study: Study) -> list[tuple[Any, ...]]:
    return [(trial.number, trial.state, trial.score, dict(trial.params)) for trial in study.record().trials]


@every_sampler
def test_suggestions_of_a_search_lie_in_its_space_and_in_its_choices(tmp_path: Path, config: StrictConfig) -> None:
    source, study = source_of(tmp_path / "study", config, 8)
    run_all(source, tmp_path)
    space = load_search_spec(write_space(tmp_path / "space.yaml")).space
    trials = study.record().trials
    assert len(trials) == 8
    assert all(space.encode(trial.config) == trial.params for trial in trials)
    assert {trial.params["shape"] for trial in trials} == {"plain", "curved"}
    assert len({tuple(trial.params.items()) for trial in trials}) == 8


@every_sampler
def test_a_search_killed_and_resumed_decides_as_an_undisturbed_one(tmp_path: Path, config: StrictConfig) -> None:
    undisturbed, reference = source_of(tmp_path / "reference", config, 7)
    run_all(undisturbed, tmp_path / "a")
    for reports in (6, 9, 8):  # of four a trial: in the second trial, the fourth and the sixth
        source, study = source_of(tmp_path / "study", config, 7)
        with pytest.raises(Killed):
            run_all(source, tmp_path / "b", kill_after_reports=reports)
    source, study = source_of(tmp_path / "study", config, 7)
    run_all(source, tmp_path / "b")
    assert decisions(study) == decisions(reference)


@every_sampler
def test_a_trial_killed_before_its_suggestion_was_written_gets_the_same_one(
    tmp_path: Path, config: StrictConfig
) -> None:
    undisturbed, reference = source_of(tmp_path / "reference", config, 6)
    run_all(undisturbed, tmp_path / "a")
    source, study = source_of(tmp_path / "study", config, 5)
    run_all(source, tmp_path / "b")
    for _ in range(2):
        source, study = source_of(tmp_path / "study", config, 6)
        if len(study.optuna_study.get_trials()) == 5:
            source._set_sampler(5)  # type: ignore[attr-defined]
            study.optuna_study.ask()  # and then the process dies
        else:
            number = study.optuna_study.get_trials()[-1]._trial_id
            source._set_sampler(5)  # type: ignore[attr-defined]
            optuna.Trial(study.optuna_study, number)  # and then again
    source, study = source_of(tmp_path / "study", config, 6)
    run_all(source, tmp_path / "b")
    assert decisions(study) == decisions(reference)


@every_sampler
@pytest.mark.parametrize("num_written", [1, 3])
def test_a_trial_killed_among_its_draws_gets_the_same_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: StrictConfig, num_written: int
) -> None:
    undisturbed, reference = source_of(tmp_path / "reference", config, 4)
    run_all(undisturbed, tmp_path / "a")
    source, study = source_of(tmp_path / "study", config, 3)
    run_all(source, tmp_path / "b")
    source, study = source_of(tmp_path / "study", config, 4)
    write, left = study.storage.set_trial_param, num_written

    def write_until_killed(*arguments: Any) -> None:
        nonlocal left
        if left == 0:
            raise Killed
        left -= 1
        write(*arguments)

    monkeypatch.setattr(study.storage, "set_trial_param", write_until_killed)
    with pytest.raises(Killed):
        source.next_job()
    source, study = source_of(tmp_path / "study", config, 4)
    assert len(study.optuna_study.get_trials()[3].params) == num_written
    run_all(source, tmp_path / "b")
    assert decisions(study) == decisions(reference)


@every_sampler
def test_failed_configs_and_constraints_disturb_no_sampler(tmp_path: Path, config: StrictConfig) -> None:
    limits = {"num_parameters": 80, "seconds_per_essay": 1.0}
    source, study = source_of(tmp_path / "study", config, 9, stopped_as="last_value", constraints=limits)
    number = 0
    while (job := source.next_job()) is not None:
        if number % 4 == 1:
            source.on_end(job, JobEnd(EndKind.BAD_CONFIG, message="it does not fit"))
        else:
            # The first evaluation says less than the second; one trial in four is too large.
            measures = {"num_parameters": 90.0 if number % 4 == 3 else 50.0 + number}
            if source.on_progress(job, Progress(1, 2, 0.5 + number / 100, measures), seconds=1):
                measures["seconds_per_essay"] = 0.5
                source.on_progress(job, Progress(2, 2, 0.45 + number / 100, measures), seconds=1)
                source.on_end(job, JobEnd(EndKind.COMPLETE, score=0.45 + number / 100))
        number += 1
    states = [str(trial.state) for trial in study.record().trials]
    assert states == ["complete", "failed", "complete", "failed"] * 2 + ["complete"]
    trials = [trial for trial in study.optuna_study.get_trials() if DUPLICATE_OF not in trial.user_attrs]
    assert all(set(trial.constraints) == set(limits) for trial in trials)


@every_sampler
def test_several_trials_at_a_time_have_different_configs(tmp_path: Path, config: StrictConfig) -> None:
    source, study = source_of(tmp_path / "study", config, 9)
    for _ in range(3):
        jobs = [source.next_job() for _ in range(3)]
        for job in jobs:
            assert job is not None
            source.on_progress(job, Progress(1, 1, 0.5 + abs(job.config["x"]) / 10), seconds=1)
            source.on_end(job, JobEnd(EndKind.COMPLETE))
    assert len({tuple(trial.params.items()) for trial in study.record().trials}) == 9


def test_qmc_points_are_spread_evenly_and_differ_by_seed() -> None:
    """Of 16 scrambled Sobol points each sixteenth of every axis has one; the first trial is the base config's."""

    def unit_points(seed: int) -> list[float]:
        params = suggestions(QmcConfig(), seed, 32)[16:]
        return [(math.log10(each["x"]) + 3) / 6 for each in params]

    assert sorted(int(16 * point) for point in unit_points(1)) == list(range(16))
    assert unit_points(1) != unit_points(2)


def test_cma_es_goes_on_when_a_conditional_field_is_no_longer_in_every_trial() -> None:
    """Optuna's own would draw at random for good then."""
    study = optuna.create_study()
    for number in range(40):
        study.sampler = make_sampler(CmaEsConfig(num_startup_trials=4), 0, number)
        if number < 20:
            study.enqueue_trial({"swa": "on"})
        trial = study.ask()
        study.tell(trial, loss(SPACE.suggest(trial)))
    generations = [trial.system_attrs.get("cma:generation") for trial in study.get_trials()]
    assert generations[:4] == [None] * 4 and None not in generations[4:]
    assert generations[-1] is not None and generations[-1] >= 4


def test_cma_es_without_its_package_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, study = source_of(tmp_path / "study", CmaEsConfig(), 2)
    monkeypatch.setitem(sys.modules, "cmaes", None)
    with pytest.raises(UserError) as error:
        source.next_job()
    assert str(error.value) == (
        "study.sampler: cma_es needs the package `cmaes`, which is not installed. Install it with "
        "`pip install 'ell-tune[samplers]'`, or take another sampler (tpe, gp, qmc, random)."
    )
    assert {trial.state for trial in study.optuna_study.get_trials()} == {optuna.trial.TrialState.WAITING}


@every_sampler
def test_a_study_names_its_sampler(config: StrictConfig) -> None:
    assert validate(StudyConfig, {"sampler": config.model_dump()}).sampler == config
    assert validate(StudyConfig, {}).sampler == TpeConfig()
