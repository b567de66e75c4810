"""What a search is refused for before Ray starts; the rest of it is tested through the command."""

import os
from pathlib import Path

import pytest
from studies import essays, make_study

from ell_tune.errors import UserError
from ell_tune.essays.csv_table import to_csv
from ell_tune.essays.data import FB3_TARGETS
from ell_tune.runs.budget import Budget
from ell_tune.runs.search import SearchRequest, check_request
from ell_tune.studies.study_lock import hold_study


def test_a_held_study_is_refused(tmp_path: Path) -> None:
    make_study(tmp_path / "study")
    data = essays()
    assert data.labels_NC is not None
    rows = [[*cells, *map(str, scores)] for *cells, scores in zip(data.ids, data.texts, data.labels_NC, strict=True)]
    (tmp_path / "train.csv").write_text(to_csv(["text_id", "full_text", *FB3_TARGETS], rows))
    request = SearchRequest(tmp_path / "study.yaml", tmp_path / "train.csv", tmp_path / "study", [], Budget(3))
    with hold_study(tmp_path / "study"), pytest.raises(UserError, match=rf"held by process {os.getpid()} on host"):
        check_request(request)
    assert check_request(request).study is not None
