from pathlib import Path

import pytest
from edited_studies import NARROW, edit
from plain_engine import run_all
from studies import essays, make_source, make_study

from ell_tune.errors import UserError
from ell_tune.essays.folds import load_folds
from ell_tune.runs.budget import Budget
from ell_tune.studies.study import create_study, open_study


def test_a_new_study_remembers_what_it_is_made_of(tmp_path: Path) -> None:
    study, spec = make_study(tmp_path / "study")
    record = study.record()
    assert (record.name, record.trials, record.num_steps, record.rungs) == ("study", (), 0, ())
    assert record.searched == ("x", "y", "shape", "shape[curved].power", "bonus", "bonus[on].amount")
    assert record.provenance["data_sha256"] == essays().fingerprint
    assert record.provenance["folds_sha256"] == load_folds(study.folds_path, essays()).fingerprint
    assert record.provenance["seed"] == spec.study.seed
    assert study.manifest["document"] == spec.document


def test_creation_leaves_a_whole_study_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study, spec = make_study(tmp_path / "made")
    folds = load_folds(study.folds_path, essays())

    def fail(*_: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr("ell_tune.studies.study.save_folds", fail)
    with pytest.raises(OSError, match="the disk is full"):
        create_study(tmp_path / "study", spec, essays(), folds)
    assert not (tmp_path / "study").exists()
    monkeypatch.undo()
    assert create_study(tmp_path / "study", spec, essays(), folds).record().trials == ()


def test_a_study_is_not_made_where_other_things_lie(tmp_path: Path) -> None:
    _, spec = make_study(tmp_path / "made")
    (tmp_path / "busy").mkdir()
    (tmp_path / "busy" / "thesis.txt").write_text("mine")
    folds = load_folds(tmp_path / "made" / "folds.csv", essays())
    with pytest.raises(UserError, match=r"busy: a new study needs a folder that is empty .* Give another --study"):
        create_study(tmp_path / "busy", spec, essays(), folds)
    assert [path.name for path in (tmp_path / "busy").iterdir()] == ["thesis.txt"]
    with pytest.raises(UserError, match=r"thesis.txt: a new study needs a folder .* but this is a file"):
        create_study(tmp_path / "busy" / "thesis.txt", spec, essays(), folds)
    with pytest.raises(UserError, match=r"a study needs a place that can be written, .*thesis.txt \(File exists\)"):
        create_study(tmp_path / "busy" / "thesis.txt" / "study", spec, essays(), folds)


def test_opening_what_is_no_study(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere: a study folder is needed.*but there is no such folder"):
        open_study(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"a study folder is needed.*but the folder holds no study.json"):
        open_study(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"format": 3', '"format": 2', r"reads studies of format 3, but this one has format 2"),
        (
            '"num_startup_trials": 4',
            '"num_startup_trials": "four"',
            r"study.json: .* not what was written \(its checksum is another\)",
        ),
    ],
)
def test_another_format_and_a_changed_manifest_are_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    make_study(tmp_path / "study")
    manifest = tmp_path / "study" / "study.json"
    manifest.write_text(manifest.read_text().replace(old, new))
    with pytest.raises(UserError, match=message):
        open_study(tmp_path / "study")


def test_a_torn_last_line_of_the_journal_loses_nothing_else(tmp_path: Path) -> None:
    source, study = make_source(tmp_path / "study", Budget(num_trials=2))
    run_all(source, tmp_path)
    before = study.record()
    journal = tmp_path / "study" / "journal.log"
    with open(journal, "ab") as file:
        file.write(b'{"op_code": 6, "worker')
    assert open_study(tmp_path / "study").record() == before  # a reader leaves the file alone
    source, study = make_source(tmp_path / "study", Budget(num_trials=4))
    run_all(source, tmp_path)
    assert study.record().trials[:2] == before.trials
    assert len(open_study(tmp_path / "study").record().trials) == 4


@pytest.mark.parametrize(
    ("name", "content", "how"),
    [
        ("study.json", b"{", r"what stands there is not what was written \(Expecting"),
        ("study.json", b"[]", "what stands there is not what was written"),
        ("study.json", b'{"format": 3}', r"what stands there is not what was written \('provenance'\)"),
        ("study.json", b'{"format": 3, "provenance": {"ell_tune": "0.1"}}', r".* \('sha256'\)"),
        ("journal.log", b"{}\n{}\n", r"its lines do not follow from each other \(KeyError: 'op_code'\)"),
        ("journal.log", b"[1]\n[1]\n", r"its lines do not follow from each other \(AttributeError"),
        ("journal.log", b"", "it is another study's, or the lines that begin this one are gone"),
        ("journal.log", b"rubbish\n{}\n", r"not every line is JSON \(Expecting value"),
        ("journal.log", b"\xff\xfe\n{}\n", "not every line is JSON"),
        ("journal.log", None, "it is gone"),
        ("folds.csv", None, "it is gone"),
    ],
)
def test_a_damaged_study_is_refused_and_left_as_it_is(
    tmp_path: Path, name: str, content: bytes | None, how: str
) -> None:
    make_study(tmp_path / "study")
    path = tmp_path / "study" / name
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    for writes in (False, True):
        with pytest.raises(UserError, match=rf"{name}: a study is read .* this one is damaged: {how}.* Put it back"):
            open_study(tmp_path / "study", writes)
    assert (path.read_bytes() if path.exists() else None) == content


def test_the_journal_of_another_study_is_refused(tmp_path: Path) -> None:
    for name in ("study", "other"):
        make_study(tmp_path / name)
    (tmp_path / "study" / "journal.log").write_bytes((tmp_path / "other" / "journal.log").read_bytes())
    with pytest.raises(UserError, match=r"study/journal.log: .* damaged: it is another study's, or"):
        open_study(tmp_path / "study")


@pytest.mark.parametrize(
    ("old", "new", "how"),
    [
        ('"datetime_start":"20', '"datetime_start":"x0', r"its lines do not follow .* \(ValueError"),
        ('"distribution":"{', '"distribution":"x{', r"its lines do not follow .* \(JSONDecodeError"),
    ],
)
def test_a_journal_with_a_changed_value_is_refused(tmp_path: Path, old: str, new: str, how: str) -> None:
    source, _ = make_source(tmp_path / "study", Budget(num_trials=2))
    run_all(source, tmp_path)
    journal = tmp_path / "study" / "journal.log"
    assert old in journal.read_text()
    journal.write_text(journal.read_text().replace(old, new, 1))
    with pytest.raises(UserError, match=rf"journal.log: .* damaged: {how}"):
        open_study(tmp_path / "study")


def test_a_journal_without_the_line_that_starts_a_trial_is_refused(tmp_path: Path) -> None:
    source, _ = make_source(tmp_path / "study", Budget(num_trials=2))
    run_all(source, tmp_path)
    journal = tmp_path / "study" / "journal.log"
    lines = journal.read_text().splitlines(keepends=True)
    start = next(line for line in lines if '"op_code":6' in line and '"datetime_start"' in line)
    journal.write_text("".join(line for line in lines if line != start))
    with pytest.raises(UserError, match=r"journal.log: .* damaged: the line that starts trial 0 is gone"):
        open_study(tmp_path / "study").record()


def test_a_manifest_from_an_older_copy_is_refused(tmp_path: Path) -> None:
    study, _ = make_study(tmp_path / "study")
    old = (tmp_path / "study" / "study.json").read_bytes()
    edited, _ = edit(study, **NARROW)
    assert open_study(tmp_path / "study").manifest == edited.manifest
    (tmp_path / "study" / "study.json").write_bytes(old)
    with pytest.raises(UserError, match=r"study.json: .* damaged: it is older than its journal, in which the space"):
        open_study(tmp_path / "study")
