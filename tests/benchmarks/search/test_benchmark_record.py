"""From a study to a table of scores."""

import csv
import json
from pathlib import Path

import plain_engine
from studies import make_source

from benchmarks.search.record import as_text, table_of, write_subset
from ell_tune.choosing.search_spec import load_search_spec
from ell_tune.runs.budget import Budget

NO_STOPPING = {"study": {"num_folds": 2, "sampler": {"name": "random"}, "scheduler": False}}


def test_the_table_is_the_study_without_its_essays(tmp_path: Path) -> None:
    source, study = make_source(tmp_path / "study", Budget(6), **NO_STOPPING)
    plain_engine.run_all(source, tmp_path / "artifacts")
    space = load_search_spec(tmp_path / "study.yaml").space
    record = study.record()
    text = as_text(table_of(record, space))
    table = json.loads(text)
    assert table["num_steps"] == 4 and table["essays"] == 20 and len(table["rows"]) == 6
    assert table["rows"][1]["params"] == {"x": 2.5, "y": 2, "shape": "plain", "bonus": "off"}
    for row, trial in zip(table["rows"], record.trials, strict=True):
        assert row["params"] == trial.params
        assert row["scores"] == [round(trial.curve[step], 6) for step in (1, 2, 3, 4)]
        assert row["seconds"] == plain_engine.SECONDS_PER_EVALUATION
    assert "about things" not in text and "ID00" not in text
    assert len(text.splitlines()) == 8  # one for each fit, and the two ends


def test_a_diverged_fit_has_nulls_and_one_that_never_reported_is_left_out(tmp_path: Path) -> None:
    faults = {"fault": {"choice": ["none", "nan", "bad_config"]}}
    source, study = make_source(
        tmp_path / "study",
        Budget(3),
        **NO_STOPPING,
        search=faults,
        enqueue=[{"fault": "nan"}, {"fault": "bad_config"}],
    )
    plain_engine.run_all(source, tmp_path / "artifacts")
    rows = table_of(study.record(), load_search_spec(tmp_path / "study.yaml").space)["rows"]
    assert [(row["params"]["fault"], row["scores"].count(None)) for row in rows] == [
        *[("none", 0), ("nan", 4), ("bad_config", 3)]
    ]


def test_the_subset_is_the_same_rows_each_time_in_their_order(tmp_path: Path) -> None:
    train = tmp_path / "train.csv"
    rows = [[str(index), f"one, two\n{index}"] for index in range(50)]
    with train.open("w", newline="") as file:
        csv.writer(file).writerows([["text_id", "full_text"], *rows])
    for name in ("a.csv", "b.csv"):
        write_subset(train, tmp_path / name, 10)
    with (tmp_path / "a.csv").open(newline="") as file:
        header, *chosen = csv.reader(file)
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    assert header == ["text_id", "full_text"] and len(chosen) == 10
    assert [row for row in rows if row in chosen] == chosen
