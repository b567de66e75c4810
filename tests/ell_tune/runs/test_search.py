"""What a search is refused for before Ray starts; the rest of it is tested through the command."""

import os
from pathlib import Path

import pytest
from rich.console import Console
from studies import SPACE, essays, make_study, write_space

from ell_tune.errors import UserError
from ell_tune.essays.csv_table import to_csv
from ell_tune.essays.data import FB3_TARGETS
from ell_tune.running.engine import Resources
from ell_tune.runs.budget import Budget
from ell_tune.runs.search import SearchRequest, check_request, search
from ell_tune.studies.study import open_study
from ell_tune.studies.study_edit import apply
from ell_tune.studies.study_lock import hold_study
from ell_tune.trials.progress import PlainDisplay


def going_on(folder: Path) -> SearchRequest:
    """A search into the study that `make_study` made in `folder`."""
    data, train = essays(), folder.with_suffix(".csv")
    assert data.labels_NC is not None
    rows = [[*cells, *map(str, scores)] for *cells, scores in zip(data.ids, data.texts, data.labels_NC, strict=True)]
    train.write_text(to_csv(["text_id", "full_text", *FB3_TARGETS], rows))
    return SearchRequest(folder.with_suffix(".yaml"), train, folder, [], Budget(3))


def test_a_held_study_is_refused(tmp_path: Path) -> None:
    make_study(tmp_path / "study")
    request = going_on(tmp_path / "study")
    with hold_study(tmp_path / "study"), pytest.raises(UserError, match=rf"held by process {os.getpid()} on host"):
        check_request(request)
    assert check_request(request).study is not None


def test_other_folds_than_the_trials_had_are_refused(tmp_path: Path) -> None:
    make_study(tmp_path / "study")
    folds = tmp_path / "study" / "folds.csv"
    header, *rows = folds.read_text().splitlines()
    swapped = [f"{id_},{1 - int(fold)}" for id_, fold in (row.split(",") for row in rows)]
    folds.write_text("\n".join([header, *swapped, ""]))
    with pytest.raises(UserError, match=r"folds.csv: .* is damaged: the folds are not those that its trials were"):
        check_request(going_on(tmp_path / "study"))


def test_a_study_that_was_edited_since_it_was_checked_is_refused(tmp_path: Path) -> None:
    study, _ = make_study(tmp_path / "study")
    request = going_on(tmp_path / "study")
    as_it_was = check_request(request)  # the space that the study has
    narrow = {**SPACE, "search": {**SPACE["search"], "x": {"float": [-5.0, 5.0]}}}
    write_space(request.space_path, **narrow)
    edited = check_request(request)
    assert (as_it_was.edit is None, edited.edit is None) == (True, False)
    assert edited.edit is not None
    apply(open_study(study.study_dir, writes=True), edited.spec, edited.edit)
    before = open_study(study.study_dir).manifest
    for checked in (as_it_was, edited):  # the same edit is not made twice either
        with pytest.raises(UserError, match=r"study: a search goes on with a study as it found it, but another one"):
            search(checked, Resources(1, 0, 1), PlainDisplay(Console(quiet=True)))
    assert open_study(study.study_dir).manifest == before


def test_a_new_study_that_another_search_made_meanwhile_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    make_study(folder)
    request = going_on(folder)
    folder.rename(tmp_path / "made")
    checked = check_request(request)  # of a study that is not there yet
    (tmp_path / "made").rename(folder)
    resources, display = Resources(1, 0, 1), PlainDisplay(Console(quiet=True))
    with hold_study(folder), pytest.raises(UserError, match=rf"held by process {os.getpid()} on host"):
        search(checked, resources, display)
    with pytest.raises(UserError, match=r"another one has made it, edited its space or tried more of it"):
        search(checked, resources, display)
