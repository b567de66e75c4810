"""A model folder: written whole, read back, and refused in one paragraph where it is none."""

import json
import re
from pathlib import Path

import pytest

from ell_tune.errors import UserError
from ell_tune.essays.data import DataConfig
from ell_tune.models.model_folder import Member, Model, load_model, predict, save_model

MEMBERS = tuple(Member(f"member-{fold}", "first.yaml", "fake_trainable", fold, score=0.5) for fold in range(2))
MODEL = Model(DataConfig(targets=["syntax", "grammar"]), MEMBERS, cv=None, provenance={"ell_tune": "0.1.0"})


@pytest.fixture
def model_dir(tmp_path: Path) -> Path:
    """A model whose members predict the scores 2 and 9, and 3 and 9."""
    for member in MEMBERS:
        weights_dir = tmp_path / "model" / "members" / member.name / "weights"
        weights_dir.mkdir(parents=True)
        (weights_dir / "mean.json").write_text(f"[{2 + member.fold}, 9]")
    save_model(tmp_path / "model", MODEL)
    return tmp_path / "model"


def test_predicts_the_members_mean_within_the_score_range(model_dir: Path) -> None:
    model = load_model(model_dir)
    assert model == MODEL
    assert predict(model_dir, model, ["One.", "Two."]).tolist() == [[2.5, 5.0], [2.5, 5.0]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("garbage", "damaged or another's (JSONDecodeError: Expecting value: line 1 column 1 (char 0)). Give another"),
        ("[]", "damaged or another's (TypeError: list indices must be integers or slices, not str). Give another"),
        ("{}", "damaged or another's (KeyError: 'format'). Give another folder, or retrain into it again."),
        ('{"format": 2}', "damaged or another's (KeyError: 'data'). Give another folder, or retrain into it again."),
        (
            json.dumps({"format": 9, "provenance": {"ell_tune": "3.0"}}),
            "this ell-tune reads model folders of format 2, but this one has 9. Use ell-tune 3.0, which made it.",
        ),
    ],
)
def test_refuses_a_file_that_is_no_model(model_dir: Path, content: str, message: str) -> None:
    (model_dir / "model.json").write_text(content)
    with pytest.raises(UserError, match=f"^{re.escape(str(model_dir))}/model.json: .*{re.escape(message)}"):
        load_model(model_dir)


def test_refuses_a_folder_that_is_no_model(model_dir: Path, tmp_path: Path) -> None:
    (model_dir / "model.json").rename(tmp_path / "file")
    for path, found in [
        (model_dir, r"its retraining has not finished: run the same `ell-tune retrain` again, it goes on\."),
        (tmp_path / "none", r"there is no such folder\."),
        (tmp_path / "file", r"this is a file\."),
        (tmp_path, r"there is no model.json in it\."),
    ]:
        with pytest.raises(UserError, match=f"a model folder is needed, as .* makes it, but {found}$"):
            load_model(path)


def test_refuses_members_that_are_not_as_they_were_written(model_dir: Path) -> None:
    file = model_dir / "members" / "member-1" / "weights" / "mean.json"
    text = file.read_text()
    file.write_text(text.replace("3", "4"))  # of the same size
    message = f"^{re.escape(str(file))}: a model predicts with the files that its training wrote, but this one {{}}"
    with pytest.raises(UserError, match=message.format("has changed. Copy the whole folder again, or")):
        load_model(model_dir)
    file.unlink()
    with pytest.raises(UserError, match=message.format("is not there. Copy the whole folder again, or")):
        load_model(model_dir)
    file.write_text(text)
    assert load_model(model_dir) == MODEL
