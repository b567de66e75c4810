"""The command as a user types it: what it prints, what it leaves, and its exit codes."""

import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import fake_trainable
import pytest
import yaml
from command import Run
from plain_engine import run_all
from studies import essays, make_source, write_space

from ell_tune import __version__
from ell_tune.cli.options import seconds_of
from ell_tune.errors import BadConfig
from ell_tune.essays.csv_table import to_csv
from ell_tune.essays.data import FB3_TARGETS, DataConfig, read_labelled
from ell_tune.runs.budget import Budget
from ell_tune.studies.study import open_study

STUDY_VERBS = ["search", "leaderboard", "status", "enqueue", "report", "export"]
VERBS = [*STUDY_VERBS, "retrain", "predict", "score", "sample-data"]
# Of the tests' cluster: a worker takes longer to start than all of a fake trainable's trials.
ONE_AT_A_TIME = ["--cpus-per-trial", 2]


@pytest.fixture(scope="module")
def study_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study, beside its space; only read by tests, so one is enough."""
    folder = tmp_path_factory.mktemp("finished")
    source, study = make_source(folder / "study", Budget(num_trials=6))
    run_all(source, folder / "artifacts")
    return study.study_dir


def test_help_teaches_every_verb_with_an_example(run: Run) -> None:
    code, out, _ = run("--help")
    assert code == 0
    assert re.findall(r"^│ ([a-z][a-z-]+) ", out, re.MULTILINE) == VERBS
    for verb in VERBS:
        code, out, _ = run(verb, "--help")
        assert code == 0 and f"ell-tune {verb} " in re.sub(r"\s+", " ", out), verb


def test_version(run: Run) -> None:
    assert run("--version") == (0, f"ell-tune {__version__}\n", "")


def test_leaderboard_as_json_has_the_promised_fields(run: Run, study_dir: Path) -> None:
    code, out, _ = run("leaderboard", study_dir, "--json")
    rows = json.loads(out)
    assert code == 0 and len(rows) == 6
    assert {"number", "state", "score", "steps", "seconds", "config"} <= set(rows[0])
    scores = [row["score"] for row in rows if row["state"] == "complete"]
    assert scores == sorted(scores) and len(scores) >= 2
    assert {row["state"] for row in rows} == {"complete", "stopped"}


def test_status_for_people_and_as_json(run: Run, study_dir: Path) -> None:
    code, out, err = run("status", study_dir, "--json")
    found = json.loads(out)
    assert (code, err) == (0, "")
    assert (found["study"], found["searched_by"], found["under_way"]) == ("study", None, [])
    assert sum(found["trials"].values()) == 6
    code, out, err = run("status", study_dir)
    lines = out.splitlines()
    assert (code, err) == (0, "") and len(lines) == 4
    assert re.fullmatch(r"study: \d complete, \d stopped; 6 ended", lines[0])
    assert lines[1] == "not searched now"
    assert lines[3].startswith(f"best {found['best']['score']:.4f} (trial {found['best']['number']}, complete): x=")


def test_enqueue_says_what_became_of_each_file(run: Run, study_dir: Path, tmp_path: Path) -> None:
    study_dir = shutil.copytree(study_dir, tmp_path / "study")
    (tmp_path / "mine.yaml").write_text("x: 4.5\n")
    (tmp_path / "base.yaml").write_text("{}\n")
    assert run("enqueue", study_dir, tmp_path / "mine.yaml", tmp_path / "base.yaml", tmp_path / "mine.yaml") == (
        0,
        f"Enqueued {tmp_path}/mine.yaml\n"
        f"Left out {tmp_path}/base.yaml: trial 0 has this config\n"
        f"Left out {tmp_path}/mine.yaml: trial 6 has this config\n",
        "",
    )
    code, out, _ = run("status", study_dir)
    assert code == 0 and out.splitlines()[1] == "1 enqueued and not started"
    (tmp_path / "wrong.yaml").write_text("x: 1\nyy: 2\n")
    code, out, err = run("enqueue", study_dir, tmp_path / "wrong.yaml")
    assert (code, out) == (2, "")
    assert err == (
        f"error: {tmp_path}/wrong.yaml, line 2: an enqueued config must lie in the study's space, but yy: there is no "
        f"such field. Did you mean y?\n"
    )
    assert run("enqueue", study_dir)[0] == 2  # no file


def test_leaderboard_and_report_for_people(run: Run, study_dir: Path, tmp_path: Path) -> None:
    code, out, _ = run("leaderboard", study_dir)
    assert code == 0 and "stopped" in out and "not among the best" in re.sub(r"[\s│]+", " ", out)
    code, out, _ = run("report", study_dir, "--out", tmp_path / "report.html")
    assert code == 0 and (tmp_path / "report.html").read_text().startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["leaderboard", "{tmp}/none"], r"none: a study folder is needed.*but there is no such folder"),
        (["report", "{tmp}", "--out", "r.html"], r"a study folder is needed.*but the folder holds no study.json"),
        (["predict", "{tmp}", "{csv}", "--out", "{csv}"], r"--out .*train.csv: the scores need a file of their own"),
        (["report", "{tmp}", "--out", "{csv}"], r"--out .*train.csv: the report is a page, whose name ends in .html"),
        (["leaderboard", "{csv}"], r"train.csv: a study folder is needed.*but this is a file"),
        (["predict", "{tmp}", "{csv}", "--out", "{tmp}/s.csv"], r"a model folder is needed.*there is no model.json"),
        (["predict", "{tmp}", "{csv}", "--out", "{tmp}/no/s.csv"], r"the directory .*no must exist.* Create it first"),
        (["score", "{tmp}", "{csv}"], r"a model folder is needed"),
        (["search", "{tmp}/none.yaml", "--train", "{csv}", "--study", "{tmp}/s"], r"none.yaml: there is no such"),
        (["search", "{space}", "--train", "{tmp}/none.csv", "--study", "{tmp}/s"], r"none.csv: there is no such file"),
        (
            ["search", "{space}", "--train", "{csv}", "--study", "{tmp}/s", "--set", "x=11"],
            r"with --set x=11.*x: .*at most 10, got 11",
        ),
        *(
            (
                ["search", "{space}", "--train", "{csv}", "--study", "{tmp}/s", option, text],
                rf"{option} takes a time above 0 such as 45s, 90m or 1h30m, but got '{text}'",
            )
            for option, text in [
                ("--time-budget", "soon"),
                ("--time-budget", "0s"),
                ("--device-budget", "3 days"),
                ("--trial-budget", "1.5h"),
                ("--trial-budget", ""),
            ]
        ),
        (["search", "{space}", "--train", "{csv}", "--study", "{tmp}/s", "--target-score", "nan"], r"but got nan"),
        (["status", "{tmp}/none"], r"none: a study folder is needed.*but there is no such folder"),
        (["enqueue", "{tmp}/none", "{space}"], r"none: a study folder is needed.*but there is no such folder"),
        (
            ["search", "{space}", "--train", "{csv}", "--study", "{tmp}/s", "--set", "study.num_folds=30"],
            r"train.csv: .*30",
        ),
        (["retrain", "{space}", "--train", "{csv}", "--out", "{tmp}/m"], r"A space file is for `ell-tune search`"),
        (["sample-data", "--essays", "3", "--seed", "1", "--out", "{tmp}/d"], r"--essays 3: at least 20"),
        (
            ["sample-data", "--essays", "21", "--seed", "1", "--out", "{tmp}"],
            r"train.csv: .* never replaces other data",
        ),
    ],
)
def test_a_users_mistake_is_one_paragraph_exit_code_2_and_nothing_written(
    run: Run, tmp_path: Path, words: list[str], message: str
) -> None:
    names = {"tmp": tmp_path, "csv": tmp_path / "train.csv", "space": tmp_path / "space.yaml"}
    write_space(names["space"])
    run("sample-data", "--essays", 20, "--seed", 1, "--out", tmp_path)
    before = sorted(path.name for path in tmp_path.iterdir())
    code, out, err = run(*[word.format(**names) for word in words])
    assert code == 2 and out == ""
    assert re.search(message, err) and err.startswith("error: ") and err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_an_unknown_option_is_a_users_mistake_too(run: Run) -> None:
    assert run("search", "--no-such")[0] == 2
    assert run("explode")[0] == 2


@pytest.mark.parametrize(("text", "seconds"), [("45s", 45), ("90m", 5400), ("1h30m", 5400), ("2h", 7200)])
def test_times(text: str, seconds: float) -> None:
    assert seconds_of("--time-budget", text) == seconds


@pytest.mark.parametrize("trials", [3, 6])
def test_a_study_that_has_all_trials_is_left_as_it_is(run: Run, study_dir: Path, tmp_path: Path, trials: int) -> None:
    data, train = essays(), tmp_path / "train.csv"
    assert data.labels_NC is not None
    rows = [[*cells, *map(str, scores)] for *cells, scores in zip(data.ids, data.texts, data.labels_NC, strict=True)]
    train.write_text(to_csv(["text_id", "full_text", *FB3_TARGETS], rows))
    before = (study_dir / "journal.log").read_bytes()
    words = ["search", study_dir.with_suffix(".yaml"), "--train", train, "--study", study_dir, "--trials", trials]
    code, out, err = run(*words)
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        f"Nothing is left to search: --trials {trials} counts those that the study has. A larger one adds to them.",
        f"Trials in {study_dir}: 6. Next: ell-tune leaderboard {study_dir}",
    ]
    assert (study_dir / "journal.log").read_bytes() == before


def test_a_study_goes_on_with_an_edited_space_but_only_with_its_own_essays(
    run: Run, tmp_path: Path, ray_address: str
) -> None:
    run("sample-data", "--essays", 20, "--seed", 1, "--out", tmp_path / "a")
    run("sample-data", "--essays", 20, "--seed", 2, "--out", tmp_path / "b")
    space = write_space(tmp_path / "space.yaml")
    train = ["--train", tmp_path / "a" / "train.csv", "--study", tmp_path / "study", "--address", ray_address]
    code, out, err = run("search", space, *train, "--trials", 2, "--set", "y=2")
    assert code == 0, err
    assert "Ray runs without a dashboard" in out
    assert f"Trials in {tmp_path / 'study'}: 2." in out and "Next: ell-tune leaderboard" in out
    assert [trial.config["y"] for trial in open_study(tmp_path / "study").record().trials] == [2, 2]

    code, out, err = run("search", space, *train, "--trials", 3, *ONE_AT_A_TIME)
    assert code == 0, err
    assert "The space file has changed (base, search). All trials of the study fit it." in out
    assert f"Trials in {tmp_path / 'study'}: 3." in out
    code, _, err = run("search", space, *train, "--trials", 4, "--set", "study.seed=7")
    assert code == 2 and "but not with another study.seed" in err
    code, _, err = run("search", space, *train, "--trials", 4, "--set", "y=9")
    assert code == 2 and "at most 5, got 9" in err
    train[1] = tmp_path / "b" / "train.csv"
    code, _, err = run("search", space, *train, "--trials", 4)
    assert code == 2 and "a study goes on with the essays that it began with" in err
    assert len(open_study(tmp_path / "study").record().trials) == 3


def test_a_search_that_is_refused_at_once_leaves_no_study_behind(run: Run, tmp_path: Path, ray_address: str) -> None:
    run("sample-data", "--essays", 20, "--seed", 1, "--out", tmp_path)
    space = write_space(tmp_path / "space.yaml")
    words = ["search", space, "--train", tmp_path / "train.csv", "--study", tmp_path / "study", "--trials", 1]
    code, _, err = run(*words, "--address", ray_address, *ONE_AT_A_TIME, "--set", "fault=user_error_in_prepare")
    assert code == 2 and "no tokenizer can be had" in err
    assert not (tmp_path / "study").exists()


@pytest.mark.slow
def test_a_trial_whose_worker_is_killed_goes_on_in_another(run: Run, tmp_path: Path, ray_address: str) -> None:
    run("sample-data", "--essays", 20, "--seed", 1, "--out", tmp_path)
    space = write_space(
        tmp_path / "space.yaml", base={"fault": f"kill_once:{tmp_path / 'killed'}"}, study={"scheduler": False}
    )
    words = ["search", space, "--train", tmp_path / "train.csv", "--study", tmp_path / "study", "--trials", 2]
    code, _, err = run(*words, "--address", ray_address)
    assert code == 0, err
    assert (tmp_path / "killed").exists()
    trials = open_study(tmp_path / "study").record().trials
    assert [(trial.state, trial.reason, list(trial.curve)) for trial in trials] == [
        ("complete", None, [1, 2, 3, 4])
    ] * 2


@pytest.mark.slow
def test_a_search_killed_or_interrupted_goes_on_to_exactly_the_asked_for_number_of_trials(
    run: Run, tmp_path: Path
) -> None:
    run("sample-data", "--essays", 20, "--seed", 1, "--out", tmp_path)
    space = write_space(tmp_path / "space.yaml", base={"seconds_per_step": 0.1})
    words = ["search", space, "--train", tmp_path / "train.csv", "--study", tmp_path / "study", "--trials", 8]
    command = [sys.executable, "-m", "ell_tune.cli", *map(str, words)]
    for signal_number, code, enough in [(signal.SIGKILL, -9, 1), (signal.SIGINT, 130, 3)]:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout is not None
        for line in process.stdout:
            ended = re.search(r"\| (\d+)/8 done", line)
            if ended and int(ended[1]) >= enough:
                break
        process.send_signal(signal_number)
        _, err = process.communicate(timeout=120)
        assert process.returncode == code, err
    assert "The same command goes on" in err
    interrupted = open_study(tmp_path / "study").record()
    assert any(trial.state == "running" for trial in interrupted.trials) and len(interrupted.trials) < 8

    subprocess.run(command, check=True, capture_output=True, timeout=120)
    record = open_study(tmp_path / "study").record()
    assert [trial.number for trial in record.trials] == list(range(8))
    assert {trial.state for trial in record.trials} == {"complete", "stopped"}
    for before, after in zip(interrupted.trials, record.trials, strict=False):
        assert before.config == after.config
        assert dict(before.curve).items() <= dict(after.curve).items()
        assert before.state == "running" or before == after


def test_a_model_is_retrained_predicts_and_is_scored(
    run: Run, tmp_path: Path, ray_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("sample-data", "--essays", 24, "--seed", 1, "--out", tmp_path)
    train, configs = tmp_path / "train.csv", [tmp_path / "first.yaml", tmp_path / "second.yaml"]
    for path, x in zip(configs, [1.0, 2.0], strict=True):
        path.write_text(yaml.safe_dump({"trainable": "fake_trainable", "seed": 42, "config": {"x": x}}))
    retrain = ["retrain", *configs, "--train", train, "--out", tmp_path / "model", "--folds", 3]
    retrain += ["--address", ray_address, *ONE_AT_A_TIME]
    code, out, err = run(*retrain)
    assert code == 0, err
    # The fake predicts the training mean: its out-of-fold score is close to the labels' spread.
    labels_NC = read_labelled(train, DataConfig()).labels_NC
    assert labels_NC is not None
    oof_score = float(re.search(r"Out-of-fold MCRMSE ([\d.]+); by fold", out)[1])  # type: ignore[index]
    assert oof_score == pytest.approx(labels_NC.std(axis=0).mean(), rel=0.15)

    members = [path.name for path in (tmp_path / "model" / "members").iterdir()]
    assert len(members) == 6
    model = json.loads((tmp_path / "model" / "model.json").read_text())
    assert model["cv"]["score"] == pytest.approx(oof_score, abs=1e-4)
    assert len(model["cv"]["fold_scores"]) == 3

    code, out, _ = run("predict", tmp_path / "model", tmp_path / "test.csv", "--out", tmp_path / "submission.csv")
    assert code == 0 and "Wrote 20 scored essays" in out
    lines = (tmp_path / "submission.csv").read_text().splitlines()
    test_ids = [line.split(",")[0] for line in (tmp_path / "test.csv").read_text().splitlines() if "," in line]
    assert lines[0] == "text_id,cohesion,syntax,vocabulary,phraseology,grammar,conventions"
    assert [line.split(",")[0] for line in lines[1:]] == [i for i in test_ids if re.fullmatch(r"[0-9A-F]{12}", i)]
    means = labels_NC.mean(axis=0)
    assert [float(value) for value in lines[1].split(",")[1:]] == pytest.approx(means, abs=0.2)

    code, out, err = run("score", tmp_path / "model", train, "--json")
    score = json.loads(out)
    assert set(score) == {"mcrmse", "rmse", "essays"} and score["essays"] == 24
    assert score["mcrmse"] == pytest.approx(sum(score["rmse"].values()) / 6)
    assert "24 of these essays were used in training" in re.sub(r"\s+", " ", err)

    # A finished retraining has nothing left to do; one that lost a member trains that one.
    (tmp_path / "model" / "members" / members[0] / "result" / ".complete").unlink()
    code, out, _ = run(*retrain)
    assert code == 0 and "1/1 members done" in out

    def refuse(weights_dir: Path, texts: list[str]) -> None:
        raise BadConfig("backbone.name: its package is not installed here.")

    monkeypatch.setattr(fake_trainable, "predict", refuse)
    code, _, err = run("score", tmp_path / "model", train)
    assert (code, err.strip()) == (2, "error: backbone.name: its package is not installed here.")
