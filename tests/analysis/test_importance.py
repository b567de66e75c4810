import math

import numpy as np
import pytest
from synthetic_study import search, study, trial

from analysis.importance import MIN_R2, rate_fields
from ell_tune.trials.records import StudyRecord, TrialState


def scored(num_trials: int, rungs: tuple[int, ...] = (4,)) -> StudyRecord:
    """Trials whose score depends strongly on `loss`, weakly on `lr` and not on `seed`."""
    rng = np.random.default_rng(1)
    trials = []
    for number in range(num_trials):
        lr, loss = float(rng.uniform(1e-5, 1e-4)), str(rng.choice(["mse", "l1"]))
        score = 0.45 + 0.01 * (loss == "l1") + 40 * lr
        trials.append(trial(number, score, params={"lr": lr, "loss": loss, "seed": float(number)}))
    return study(*trials, searched=("lr", "loss", "seed"), rungs=rungs)


def test_the_fields_that_matter_come_first_and_the_others_near_zero() -> None:
    importance = rate_fields(scored(60))
    assert list(importance.by_path) == ["loss", "lr", "seed"]
    assert importance.by_path["loss"].mean > 3 * importance.by_path["lr"].mean
    assert abs(importance.by_path["seed"].mean) < 0.1 * importance.by_path["loss"].mean
    # Two values .01 apart: shuffling them misleads for half of the trials.
    assert importance.by_path["loss"].mean == pytest.approx(0.005, abs=0.001)
    assert importance.num_trials == 60 and importance.step == 4
    assert importance.r2 is not None and importance.r2 > 0.9


def test_the_learning_rate_of_a_synthetic_search_matters_most() -> None:
    importance = rate_fields(search(120))
    assert next(iter(importance.by_path)) == "optimizer.lr"
    assert importance.step == 6
    assert importance.unrated.keys() == {"pooling[lstm].hidden_size"}
    assert f"of the {importance.num_trials} trials" in importance.unrated["pooling[lstm].hidden_size"]


def test_only_trials_that_reached_the_last_rung_count_by_their_score_there() -> None:
    record = scored(12)
    short = trial(12, 0.1, state=TrialState.STOPPED, curve={1: 0.1, 2: 0.1}, params=record.trials[0].params)
    late = {step: score / 2 for step, score in record.trials[0].curve.items() if step > 4}
    first = trial(0, 0.2, params=record.trials[0].params, curve={**record.trials[0].curve, **late})
    changed = study(first, *record.trials[1:], short, searched=record.searched, rungs=record.rungs)
    assert rate_fields(changed) == rate_fields(record)


def test_without_rungs_scores_at_the_end_of_the_schedule_are_compared() -> None:
    assert rate_fields(scored(12, rungs=())).step == 8


def test_refuses_below_eight_trials() -> None:
    importance = rate_fields(scored(7))
    assert importance.refusal == "At least 8 trials must have reached step 4; 7 did."
    assert not importance.by_path and importance.r2 is None


def test_refuses_where_the_fields_predict_nothing() -> None:
    rng = np.random.default_rng(0)
    trials = [trial(n, 0.45 + 0.001 * rng.normal(), params={"seed": float(rng.random())}) for n in range(20)]
    importance = rate_fields(study(*trials, searched=("seed",)))
    assert importance.r2 is not None and importance.r2 < MIN_R2
    assert not importance.by_path
    assert importance.refusal is not None and "no ranking of the fields can be read" in importance.refusal


def test_constant_and_conditional_fields_are_named_and_not_rated() -> None:
    trials = [trial(n, 0.45 + n / 1000, params={"constant": 1} | ({"rare": n} if n < 3 else {})) for n in range(10)]
    importance = rate_fields(study(*trials, searched=("constant", "rare")))
    assert importance.unrated == {
        "constant": "has the same value in all of them",
        "rare": "applies to only 3 of the 10 trials",
    }
    assert importance.refusal == "No searched field applies to all of these trials and varies between them."


def test_a_trial_that_diverged_before_the_rung_is_left_out() -> None:
    record = scored(12)
    diverged = trial(12, 0.46, curve={1: 0.46, 4: math.nan}, params=record.trials[0].params)
    assert rate_fields(study(*record.trials, diverged, searched=record.searched, rungs=record.rungs)).num_trials == 12
