"""Configs that cannot be trained, in one search with some that can: no loss, no memory, no worker."""

from pathlib import Path

import optuna
import pytest
from plain_engine import run_all
from searches import Searches, check_nothing_counted_twice, checkpoints
from studies import SPACE, make_source

from ell_tune.runs.budget import Budget
from ell_tune.studies.study import Study, open_study
from ell_tune.trials.records import TrialState

NOT_FINITE = {
    "nan": "diverged: the score of evaluation 1 is nan",
    "inf": "diverged: the score of evaluation 1 is inf",
    "-inf": "diverged: the score of evaluation 1 is -inf",
}
NO_MEMORY = {
    "bad_config": "it does not fit",
    "out_of_memory": "out of memory: CUDA out of memory. Tried to allocate 20.00 GiB.",
    "memory_error": "out of memory: there is no more",
}
LOST = "its worker or node was lost 4 times, the last time: "
NUM_TRIALS = 12


def space(*faults: str) -> dict[str, object]:
    """The space with the faults as one more searched field, each tried once before the sampler chooses without."""
    return {
        "search": {"x": SPACE["search"]["x"], "fault": {"choice": ["none", *faults]}},
        "enqueue": [{"x": 2.5}, *({"fault": fault} for fault in faults)],
        "study": {"num_folds": 2, "scheduler": False, "sampler": {"name": "tpe", "num_startup_trials": 4}},
    }


def check_told_as_bad(study: Study) -> None:
    """Failed trials are told as pruned, so that the sampler ranks them last and its model learns of them."""
    failed = [trial.number for trial in study.record().trials if trial.state == TrialState.FAILED]
    told = [trial.number for trial in study.optuna_study.get_trials(states=(optuna.trial.TrialState.PRUNED,))]
    assert told == failed


def test_losses_that_are_no_numbers_end_their_trials_at_once_and_the_search_goes_on(tmp_path: Path) -> None:
    source, study = make_source(tmp_path / "study", Budget(NUM_TRIALS), **space(*NOT_FINITE, "bad_config"))
    run_all(source, Path(study.artifacts))
    check_nothing_counted_twice(study.study_dir, NUM_TRIALS)
    trials = study.record().trials
    for number, reason in enumerate(NOT_FINITE.values(), start=2):
        assert (trials[number].state, trials[number].reason) == (TrialState.FAILED, reason)
        assert (trials[number].score, list(trials[number].curve)) == (None, [1])
    for trial in trials:
        if trial.config["fault"] == "none":
            assert (trial.state, list(trial.curve)) == (TrialState.COMPLETE, [1, 2, 3, 4])
    check_told_as_bad(study)
    assert checkpoints(study.study_dir) == []


@pytest.mark.chaos
@pytest.mark.timeout(1800)
def test_every_hopeless_config_fails_alone_is_told_as_bad_and_only_a_lost_worker_is_tried_again(
    tmp_path: Path, ray_address: str
) -> None:
    trace = tmp_path / "trace"
    searches = Searches(tmp_path, ray_address, base={"trace": str(trace)}, **space(*NOT_FINITE, *NO_MEMORY, "kill"))
    ended = searches.run(NUM_TRIALS)
    assert ended.code == 0, ended.err
    check_nothing_counted_twice(searches.study_dir, NUM_TRIALS)
    trials = searches.record().trials
    reasons = {trial.config["fault"]: trial.reason for trial in trials[2:9]}
    lost = reasons.pop("kill")
    assert reasons == NOT_FINITE | NO_MEMORY and lost is not None and lost.startswith(LOST)
    for trial in trials:
        states = {"none": TrialState.COMPLETE, "kill": TrialState.LOST}
        assert trial.state == states.get(trial.config["fault"], TrialState.FAILED)
        assert list(trial.curve) == ([1, 2, 3, 4] if trial.config["fault"] == "none" else [1])
    fits = [tuple(map(int, line.split()))[::2] for line in trace.read_text().splitlines()]
    for trial in trials:
        # The fault comes after the second state is saved, so that each of three more workers begins there.
        again = [2] * 3 if trial.config["fault"] == "kill" else []
        assert [first for number, first in fits if number == trial.number] == [1, *again]
    check_told_as_bad(open_study(searches.study_dir))
    assert checkpoints(searches.study_dir) == []
