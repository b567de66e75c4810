"""What a retraining is refused for before Ray starts; the rest of it is tested through the command."""

from pathlib import Path

import pytest
import yaml

from ell_tune.errors import UserError
from ell_tune.essays.data import DataConfig, read_labelled
from ell_tune.essays.folds import make_folds, save_folds
from ell_tune.essays.sample_essays import write_sample_data
from ell_tune.runs.retrain import prepare_retraining


@pytest.fixture
def config_path(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"trainable": "fake_trainable", "seed": 42, "config": {}}))
    return path


def test_a_model_folder_goes_on_with_its_own_essays_and_folds_alone(tmp_path: Path, config_path: Path) -> None:
    train, _ = write_sample_data(20, seed=1, out_dir=tmp_path / "a")
    others, _ = write_sample_data(20, seed=2, out_dir=tmp_path / "b")
    essays, model_dir = read_labelled(train, DataConfig()), tmp_path / "model"
    model_dir.mkdir()
    save_folds(model_dir / "folds.csv", essays, make_folds(essays, 2, 42))
    before = (model_dir / "folds.csv").read_bytes()
    assert prepare_retraining([config_path], train, model_dir, 2).model_dir == model_dir
    for path, num_folds in [(train, 3), (others, 2)]:
        with pytest.raises(UserError) as error:
            prepare_retraining([config_path], path, model_dir, num_folds)
        assert str(error.value) == (
            f"{model_dir}: a retraining goes on with the essays and the folds that it began with, but the folder is "
            f"that of others. Give its own --train and --folds, or another --out."
        )
    assert (model_dir / "folds.csv").read_bytes() == before


def test_a_folder_with_other_things_is_refused(tmp_path: Path, config_path: Path) -> None:
    train, _ = write_sample_data(20, seed=1, out_dir=tmp_path / "a")
    with pytest.raises(UserError, match=r"a: a model needs a folder that is empty, .* this one holds other things"):
        prepare_retraining([config_path], train, tmp_path / "a", 2)
