"""What an ablation is made of; the fits themselves take an hour."""

import json
from pathlib import Path

import pytest

from benchmarks.ablation import BASE, TECHNIQUES, Effect, effects, make_jobs, read_scores
from ell_tune.config import validate
from trainables.regressor import Config


@pytest.mark.parametrize("technique", TECHNIQUES)
def test_every_technique_is_one_change_of_the_base_config(technique: str) -> None:
    base = validate(Config, BASE).model_dump()
    (job, *_) = make_jobs(num_seeds=1)[technique]
    config = validate(Config, job.config).model_dump()
    assert sum(config[section] != base[section] for section in base) == 1


def test_every_variant_has_the_same_folds_and_seeds() -> None:
    jobs = make_jobs(num_seeds=2)
    assert list(jobs) == ["base", *TECHNIQUES] and len(TECHNIQUES) >= 10
    for own in jobs.values():
        assert [(job.fold, job.seed) for job in own] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    names = [job.name for own in jobs.values() for job in own]
    assert len(set(names)) == len(names)


def test_effects_by_hand() -> None:
    scores = {"base": [0.50, 0.60], "worse": [0.53, 0.61], "better": [0.49, 0.57]}
    better, worse = effects(scores)
    # Differences -.01 and -.03: mean -.02, deviation .01414, over the root of 2.
    assert better == Effect("better", pytest.approx(-0.02), pytest.approx(0.01), 2, 2)
    assert worse == Effect("worse", pytest.approx(0.02), pytest.approx(0.01), 0, 2)


def test_scores_are_read_in_the_order_of_the_jobs(tmp_path: Path) -> None:
    jobs = {"base": make_jobs(num_seeds=1)["base"]}
    for score, job in zip([0.6, 0.5], reversed(jobs["base"]), strict=True):
        (tmp_path / job.name / "result").mkdir(parents=True)
        (tmp_path / job.name / "result" / "result.json").write_text(json.dumps({"score": score}))
    assert read_scores(tmp_path, jobs) == {"base": [0.5, 0.6]}
