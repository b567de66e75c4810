"""NSGA-II over score and cost: what it remembers, whom it takes for parents, and how good its fronts are."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from command import Run
from optuna._hypervolume import compute_hypervolume
from plain_engine import Killed, run_all
from studies import make_source, write_space

from ell_tune.choosing.nsga2 import Nsga2Config
from ell_tune.choosing.samplers import RandomConfig, make_sampler
from ell_tune.choosing.search_spec import StudyConfig, load_search_spec
from ell_tune.config import InvalidConfig, StrictConfig, validate
from ell_tune.errors import UserError
from ell_tune.running.jobs import EndKind, JobEnd
from ell_tune.runs.budget import Budget
from ell_tune.studies.study_edit import apply, compare
from ell_tune.trainable import Progress
from ell_tune.trials.front import front
from ell_tune.trials.records import TrialState
from ell_tune.trials.trial_attributes import USAGE

SMALL = Nsga2Config(cost="num_parameters", population_size=4)
GENERATION = "Nsga2:generation"  # Optuna makes it of the class's name


def run_trial(study: optuna.Study, config: StrictConfig, seed: int = 0) -> optuna.trial.FrozenTrial:
    """A trial of one evaluation. x0 is the cost and buys score; the other four only cost score where they are off."""
    study.sampler = make_sampler(config, seed, len(study.get_trials(deepcopy=False)))
    trial = study.ask()
    x = np.array([trial.suggest_float(f"x{index}", 0.0, 1.0) for index in range(5)])
    score, cost = float(1 - x[0] + 2 * np.sum((x[1:] - 0.3) ** 2)), float(x[0])
    trial.set_user_attr(USAGE, {"num_steps": 1, "num_parameters": cost, "step_seconds": {"1": 1.0}})
    trial.report(score, 1)
    study.tell(trial, score)
    return study.get_trials(deepcopy=False)[trial.number]


def hypervolume(config: StrictConfig, seed: int, num_trials: int) -> float:
    """The area that a search's front dominates below a score of 2 and a cost of 1. All that can be: 1.5."""
    study = optuna.create_study()
    trials = [run_trial(study, config, seed) for _ in range(num_trials)]
    points = np.array([(trial.value, trial.user_attrs[USAGE]["num_parameters"]) for trial in trials])
    reference = np.array([2.0, 1.0])
    return compute_hypervolume(points[(points < reference).all(axis=1)], reference)


def test_its_front_dominates_that_of_random_search() -> None:
    seeds = range(3)
    ours = [hypervolume(Nsga2Config(cost="num_parameters"), seed, 120) for seed in seeds]
    random = [hypervolume(RandomConfig(), seed, 120) for seed in seeds]
    assert all(mine > other for mine, other in zip(ours, random, strict=True)), (ours, random)


def test_trials_fill_generations_and_another_samplers_join_those_of_their_time() -> None:
    study = optuna.create_study()
    random = [run_trial(study, RandomConfig()) for _ in range(2)]
    ours = [run_trial(study, SMALL) for _ in range(3)]
    study.enqueue_trial({f"x{index}": 0.5 for index in range(5)})
    enqueued = run_trial(study, SMALL)
    later = [run_trial(study, SMALL) for _ in range(3)]
    assert [GENERATION in trial.system_attrs for trial in [*random, enqueued]] == [False] * 3
    # Two random trials and two of ours are the first generation; one of ours, the enqueued one and two are the second.
    assert [trial.system_attrs[GENERATION] for trial in ours + later] == [0, 0, 1, 1, 1, 2]


def test_a_config_that_breaks_a_constraint_is_no_parent_where_enough_keep_it() -> None:
    study = optuna.create_study()
    for number in range(8):  # the four worst in score and cost keep the constraint
        study.sampler = make_sampler(Nsga2Config(cost="num_parameters", population_size=8), 0, number)
        trial = study.ask()
        trial.set_user_attr(USAGE, {"num_steps": 1, "num_parameters": float(number), "step_seconds": {"1": 1.0}})
        trial.set_constraint("num_parameters", 1.0 if number < 4 else -1.0)
        trial.suggest_float("x", 0.0, 1.0)
        trial.report(float(number), 1)
        study.tell(trial, float(number))
    sampler = make_sampler(SMALL, 0, 8)
    study.sampler = sampler
    study.ask().suggest_float("x", 0.0, 1.0)
    (parents,) = [ids for name, ids in study._storage.get_study_system_attrs(0).items() if ":parent:" in name]
    assert parents == [4, 5, 6, 7]


def asha_source(folder: Path, num_trials: int) -> Any:
    settings = {"num_folds": 2, "sampler": SMALL.model_dump()}
    return make_source(folder, Budget(num_trials), study=settings, enqueue=[])


def drive(source: Any, curve: list[float], cost: float) -> None:
    """Runs the next trial of a source."""
    job = source.next_job()
    for step, score in enumerate(curve, start=1):
        if not source.on_progress(job, Progress(step, len(curve), score, {"num_parameters": cost}), 1.0):
            return
    source.on_end(job, JobEnd(EndKind.COMPLETE))


def test_early_stopping_spares_what_no_other_trial_beats_in_score_and_cost(tmp_path: Path) -> None:
    source, study = asha_source(tmp_path / "study", 4)
    drive(source, [0.5, 0.5, 0.5, 0.5], cost=10.0)
    drive(source, [0.6, 0.6, 0.6, 0.6], cost=12.0)
    drive(source, [0.7, 0.7, 0.7, 0.7], cost=3.0)
    source, study = asha_source(tmp_path / "study", 4)  # a new process, which reads the front from the journal
    drive(source, [0.8, 0.8, 0.8, 0.8], cost=4.0)
    record = study.record()
    assert [(trial.state, trial.steps) for trial in record.trials] == [
        (TrialState.COMPLETE, 4),
        (TrialState.STOPPED, 2),
        (TrialState.COMPLETE, 4),
        (TrialState.STOPPED, 2),
    ]
    assert record.cost == "num_parameters"
    assert [trial.number for trial in front(record)] == [2, 0]


def test_a_search_with_early_stopping_decides_the_same_however_often_it_is_killed(tmp_path: Path) -> None:
    def decisions(study: Any) -> list[Any]:
        return [(trial.state, trial.params, trial.curve) for trial in study.record().trials]

    settings = {"num_folds": 2, "sampler": {"name": "nsga2", "cost": "seconds", "population_size": 4}}
    budget = Budget(12)
    source, reference = make_source(tmp_path / "reference", budget, study=settings)
    run_all(source, tmp_path / "a")
    for reports in (5, 9, 14):
        source, study = make_source(tmp_path / "study", budget, study=settings)
        with pytest.raises(Killed):
            run_all(source, tmp_path / "b", kill_after_reports=reports)
    source, study = make_source(tmp_path / "study", budget, study=settings)
    run_all(source, tmp_path / "b")
    assert decisions(study) == decisions(reference)
    generations = [trial.system_attrs.get(GENERATION, 0) for trial in study.optuna_study.get_trials()]
    assert max(generations) >= 2


def check_leaderboard(run: Run, study_dir: Path, num_trials: int) -> None:
    code, out, err = run("leaderboard", study_dir, "--json")
    rows = json.loads(out)
    assert (code, err, len(rows)) == (0, "", num_trials)
    assert [row["cost"] for row in rows] == [1000.0 * (1 + row["config"]["y"]) for row in rows]
    complete = [row for row in rows if row["state"] == "complete"]
    for row in rows:
        is_beaten = any(
            other["score"] <= row["score"]
            and other["cost"] <= row["cost"]
            and (other["score"], other["cost"]) != (row["score"], row["cost"])
            for other in complete
        )
        assert row["on_front"] == (row in complete and not is_beaten)


def test_the_leaderboard_shows_the_front_and_export_writes_it(run: Run, tmp_path: Path) -> None:
    source, study = asha_source(tmp_path / "study", 10)
    run_all(source, tmp_path / "artifacts")
    check_leaderboard(run, tmp_path / "study", 10)
    words = ["export", tmp_path / "study", "--out", tmp_path / "configs"]
    assert run(*words, "--front")[0] == 0
    numbers = [int(path.stem.rpartition("-")[2]) for path in sorted((tmp_path / "configs").iterdir())]
    assert numbers == [trial.number for trial in reversed(front(study.record()))]
    for options in ([], ["--front", "--top", 1]):
        assert run(*words, *options)[2].startswith("error: export: which configs are written is said by --top K or")


@pytest.mark.slow
def test_a_whole_search_by_the_command(run: Run, tmp_path: Path, ray_address: str) -> None:
    run("sample-data", "--essays", 20, "--seed", 1, "--out", tmp_path)
    space = write_space(tmp_path / "space.yaml", study={"num_folds": 2, "sampler": SMALL.model_dump()})
    words = [space, "--train", tmp_path / "train.csv", "--study", tmp_path / "study", "--address", ray_address]
    code, out, err = run("search", *words, "--trials", 10)
    assert code == 0 and f"Trials in {tmp_path / 'study'}: 10." in out, err
    check_leaderboard(run, tmp_path / "study", 10)
    assert run("report", tmp_path / "study", "--out", tmp_path / "report.html")[0] == 0
    assert 'id="score-against-cost"' in (tmp_path / "report.html").read_text()


def test_a_cost_that_the_trainable_does_not_measure_ends_the_search_and_another_one_goes_on(tmp_path: Path) -> None:
    settings = {"num_folds": 2, "sampler": {"name": "nsga2", "cost": "seconds_per_essay"}}
    source, study = make_source(tmp_path / "study", Budget(3), study=settings)
    with pytest.raises(UserError, match="the trainable must measure .* trial 0 has no seconds_per_essay"):
        run_all(source, tmp_path / "artifacts")
    assert [trial.state for trial in study.record().trials] == [TrialState.COMPLETE, TrialState.COMPLETE]
    settings["sampler"] = {"name": "nsga2", "cost": "seconds"}
    source, study = make_source(tmp_path / "study", Budget(3), study=settings)
    run_all(source, tmp_path / "artifacts")
    assert len(study.record().trials) == 3


def test_what_another_sampler_tried_before_an_edit_is_its_first_generation(tmp_path: Path) -> None:
    source, study = make_source(tmp_path / "study", Budget(6), study={"num_folds": 2})
    run_all(source, tmp_path / "artifacts")
    space = write_space(tmp_path / "study.yaml", study={"num_folds": 2, "sampler": SMALL.model_dump()})
    spec = load_search_spec(space)
    edit = compare(study, spec, space)
    assert edit is not None
    apply(study, spec, edit)
    source, study = make_source(tmp_path / "study", Budget(7), study={"num_folds": 2, "sampler": SMALL.model_dump()})
    run_all(source, tmp_path / "artifacts")
    assert [trial.system_attrs.get(GENERATION) for trial in study.optuna_study.get_trials()] == [None] * 6 + [1]


def test_a_cost_is_one_that_trials_measure() -> None:
    with pytest.raises(InvalidConfig, match="sampler.cost: must be one of 'num_parameters', 'peak_memory_mib',"):
        validate(StudyConfig, {"sampler": {"name": "nsga2", "cost": "dollars"}})
