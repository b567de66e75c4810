"""Configs that a person adds to a study, while its search runs or before the next one."""

from pathlib import Path

import pytest
from plain_engine import run_all
from studies import essays, make_source, make_study, write_space

from ell_tune.choosing.search_spec import load_search_spec
from ell_tune.errors import UserError
from ell_tune.essays.folds import make_folds
from ell_tune.runs.budget import Budget
from ell_tune.studies.enqueue import Enqueued, enqueue
from ell_tune.studies.export import best_complete, export
from ell_tune.studies.study import create_study, open_study
from ell_tune.studies.study_lock import hold_study


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_running_search_tries_enqueued_configs_next(tmp_path: Path) -> None:
    source, study = make_source(tmp_path / "study", Budget(num_trials=5), enqueue=[])
    mine = write(tmp_path / "mine.yaml", "x: 4.5\nshape: {name: curved, power: 1.5}\n")
    yours = write(tmp_path / "yours.yaml", "bonus.amount: 0.25\n")
    with hold_study(tmp_path / "study"):
        assert source.next_job() is not None  # the base config
        assert enqueue(tmp_path / "study", [mine, yours]) == [Enqueued(mine, None), Enqueued(yours, None)]
        jobs = [source.next_job() for _ in range(3)]
    assert [job.name for job in jobs if job is not None] == ["trial-0001", "trial-0002", "trial-0003"]
    first, second, third = study.record().trials[1:]
    assert first.params == {"x": 4.5, "y": 0, "shape": "curved", "shape[curved].power": 1.5, "bonus": "off"}
    assert second.params == {"x": 0.0, "y": 0, "shape": "plain", "bonus": "on", "bonus[on].amount": 0.25}
    assert third.config["x"] not in (0.0, 4.5)  # a suggestion again


def test_what_is_beyond_the_number_of_trials_waits_for_a_larger_one(tmp_path: Path) -> None:
    source, study = make_source(tmp_path / "study", Budget(num_trials=2))
    run_all(source, tmp_path / "artifacts")
    enqueue(tmp_path / "study", [write(tmp_path / "mine.yaml", "x: 4.5\n")])
    source, study = make_source(tmp_path / "study", Budget(num_trials=2))
    assert source.next_job() is None
    assert study.record().num_waiting == 1
    source, study = make_source(tmp_path / "study", Budget(num_trials=3))
    run_all(source, tmp_path / "artifacts")
    assert [trial.config["x"] for trial in study.record().trials] == [0.0, 2.5, 4.5]
    assert study.record().num_waiting == 0


def test_files_of_export_are_configs_too(tmp_path: Path) -> None:
    source, study = make_source(tmp_path / "first", Budget(num_trials=2), study={"num_folds": 2, "scheduler": False})
    run_all(source, tmp_path / "artifacts")
    exported = export(study, best_complete(study, 2), tmp_path / "configs")
    assert enqueue(tmp_path / "first", exported) == [Enqueued(exported[0], 1), Enqueued(exported[1], 0)]
    _, other = make_study(tmp_path / "second", enqueue=[])
    assert enqueue(tmp_path / "second", exported) == [Enqueued(exported[0], None), Enqueued(exported[1], 0)]
    second = open_study(tmp_path / "second")
    assert second.config(second.optuna_study.get_trials()[1]) == study.record().trials[1].config


def test_a_config_that_a_trial_has_is_left_out_and_said_which(tmp_path: Path) -> None:
    source, study = make_source(tmp_path / "study", Budget(num_trials=1))
    run_all(source, tmp_path / "artifacts")
    base = write(tmp_path / "base.yaml", "x: 0.0\n")
    waiting = write(tmp_path / "waiting.yaml", "{y: 2, x: 2.5}\n")
    mine = write(tmp_path / "mine.yaml", "x: 4.5\n")
    assert enqueue(tmp_path / "study", [base, waiting, mine, mine]) == [
        Enqueued(base, 0),
        Enqueued(waiting, 1),
        Enqueued(mine, None),
        Enqueued(mine, 2),
    ]
    assert enqueue(tmp_path / "study", [mine]) == [Enqueued(mine, 2)]
    assert study.record().num_waiting == 2


LIES = "an enqueued config must lie in the study's space, but"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("x: 1.0\nyy: 2\n", 2, f"{LIES} yy: there is no such field. Did you mean y?"),
        ("y: 2\nx: 11\n", 2, f"{LIES} x: must be a number, at least -10 and at most 10, got 11."),
        (
            "x: 1.0\n\nevaluations: 5\n",
            3,
            f"{LIES} evaluations differs from the base config, and is not searched; search it, or leave it out.",
        ),
        (
            "shape:\n  name: curved\n  power: 3.5\n",
            None,
            f"{LIES} shape[curved].power = 3.5 lies outside the searched [1.0, 3.0]; change the value, or widen the "
            f"search of the space file.",
        ),
        ("config:\n  x: 1.0\n  y: 7\n", 3, f"{LIES} y: must be a whole number, at least 0 and at most 5, got 7."),
        ("config: 3\n", 1, f"{LIES} `config` is a mapping in a file of `ell-tune export`, but here 3."),
        ("x: 1\nx: 2\n", 2, "a value may be given once, but x is already given on line 1; remove one of them"),
        ("- x: 1\n", None, "the file must hold a YAML mapping (`key: value`), but it holds a list."),
    ],
)
def test_a_wrong_file_is_refused_with_its_line_and_nothing_is_enqueued(
    tmp_path: Path, text: str, line: int | None, message: str
) -> None:
    make_study(tmp_path / "study", enqueue=[])
    journal = (tmp_path / "study" / "journal.log").read_bytes()
    right, wrong = write(tmp_path / "right.yaml", "x: 4.5\n"), write(tmp_path / "wrong.yaml", text)
    with pytest.raises(UserError) as error:
        enqueue(tmp_path / "study", [right, wrong])
    where = f"{wrong}, line {line}: " if line else f"{wrong}: "
    assert str(error.value).startswith(where + message)
    assert (tmp_path / "study" / "journal.log").read_bytes() == journal


def test_files_and_studies_that_are_not_there(tmp_path: Path) -> None:
    make_study(tmp_path / "study")
    with pytest.raises(UserError, match=r"none.yaml: there is no such YAML file"):
        enqueue(tmp_path / "study", [tmp_path / "none.yaml"])
    with pytest.raises(UserError, match=r"nowhere: a study folder is needed.*but there is no such folder"):
        enqueue(tmp_path / "nowhere", [write(tmp_path / "mine.yaml", "x: 4.5\n")])


def test_a_line_that_a_killed_search_left_unfinished_spoils_nothing(tmp_path: Path) -> None:
    source, study = make_source(tmp_path / "study", Budget(num_trials=1))
    run_all(source, tmp_path / "artifacts")
    before = study.record()
    with open(tmp_path / "study" / "journal.log", "ab") as file:
        file.write(b'{"op_code": 6, "worker')
    enqueue(tmp_path / "study", [write(tmp_path / "mine.yaml", "x: 4.5\n")])
    after = open_study(tmp_path / "study").record()
    assert (after.trials, after.num_waiting) == (before.trials, before.num_waiting + 1)


def test_settings_of_the_search_are_part_of_the_space(tmp_path: Path) -> None:
    """What the study remembers is the space as it was searched, `--set` included."""
    spec = load_search_spec(write_space(tmp_path / "space.yaml"), ["y=4"])
    create_study(tmp_path / "study", spec, essays(), make_folds(essays(), 2, 42))
    file = write(tmp_path / "mine.yaml", "x: 4.5\n")
    assert enqueue(tmp_path / "study", [file]) == [Enqueued(file, None)]
    study = open_study(tmp_path / "study")
    assert study.config(study.optuna_study.get_trials()[-1])["y"] == 4
    with pytest.raises(UserError, match="y differs from the base config, and is not searched"):
        enqueue(tmp_path / "study", [write(tmp_path / "other.yaml", "y: 3\n")])


def test_a_study_without_its_journal_is_refused(tmp_path: Path) -> None:
    make_study(tmp_path / "study")
    (tmp_path / "study" / "journal.log").unlink()
    (tmp_path / "mine.yaml").write_text("x: 4.5\n")
    with pytest.raises(UserError, match=r"journal.log: a study is read .* this one is damaged: it is gone"):
        enqueue(tmp_path / "study", [tmp_path / "mine.yaml"])
