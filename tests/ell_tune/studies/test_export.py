from dataclasses import replace
from pathlib import Path

import pytest
from plain_engine import run_all
from studies import make_source

from ell_tune.errors import UserError
from ell_tune.runs.budget import Budget
from ell_tune.studies.export import best_complete, export, load_exported
from ell_tune.studies.study import Study


@pytest.fixture
def finished(tmp_path: Path) -> Study:
    source, study = make_source(tmp_path / "study", Budget(num_trials=6))
    run_all(source, tmp_path)
    return study


def test_the_best_complete_configs_are_written_and_read_back(finished: Study, tmp_path: Path) -> None:
    complete = sorted(
        (trial for trial in finished.record().trials if trial.state == "complete"), key=lambda trial: trial.score or 0
    )
    paths = export(finished, best_complete(finished, 2), tmp_path / "configs")
    assert [path.name for path in paths] == [
        f"{rank:02d}-trial-{trial.number:04d}.yaml" for rank, trial in enumerate(complete[:2], start=1)
    ]
    exported = load_exported(paths[0])
    assert exported.config.model_dump() == complete[0].config
    assert (exported.trainable_name, exported.seed) == ("fake_trainable", 42)
    assert exported.data.targets[0] == "cohesion"


def test_a_file_says_that_its_search_had_pseudo_labels(finished: Study, tmp_path: Path) -> None:
    best = best_complete(finished, 1)
    assert "pseudo" not in export(finished, best, tmp_path / "without")[0].read_text().partition("trainable:")[0]
    provenance = finished.manifest["provenance"] | {"pseudo": {"sha256": "0f", "essays": 3, "members": 5}}
    study = replace(finished, manifest={**finished.manifest, "provenance": provenance})
    (path,) = export(study, best, tmp_path / "with")
    assert "give `retrain` the search's --pseudo and --pseudo-model" in path.read_text().partition("trainable:")[0]
    assert load_exported(path) == load_exported(tmp_path / "without" / path.name)


def test_more_than_there_are_is_refused(finished: Study) -> None:
    with pytest.raises(UserError, match=r"--top 7: only trials that ran their whole schedule .* has \d of them"):
        best_complete(finished, 7)


def test_a_file_in_the_folders_place_is_refused(finished: Study) -> None:
    with pytest.raises(UserError, match=r"study\.json: a folder is needed, but this is a file"):
        export(finished, best_complete(finished, 1), finished.study_dir / "study.json")


def test_a_study_without_a_cost_has_no_front(finished: Study, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--front: only a search by the sampler `nsga2` has a front"):
        best_complete(finished, None)
    assert not (tmp_path / "configs").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trainable: fake_trainable\n", r"needs config\. `ell-tune export"),
        ("base: {}\n", r"line 1: a config file holds trainable, data, seed, artifacts, config.*A space file is for"),
        ("trainable: fake_trainable\nconfig:\n  z: 1\n", r"line 3: config\.z: there is no such field"),
        ("trainable: fake_trainable\nconfig:\n  x: 11\n", r"line 3: config\.x: .*at most 10, got 11"),
        ("trainable: fake_trainable\nseed: soon\nconfig: {}\n", r"line 2: .*but got seed: 'soon'"),
    ],
)
def test_a_wrong_config_file_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        load_exported(path)
