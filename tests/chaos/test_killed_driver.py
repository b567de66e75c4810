"""`kill -9` of the process that searches, at random instants, again and again, and what goes on is the same search."""

import random
import shutil
from pathlib import Path

import pytest
from plain_engine import run_all
from searches import (
    SCORED,
    Searches,
    check_kept,
    check_nothing_counted_twice,
    checkpoints,
    decisions,
    journal,
)
from studies import make_source, make_study

from ell_tune.choosing.samplers import make_sampler
from ell_tune.choosing.schedulers import make_scheduler
from ell_tune.files.artifacts import ArtifactFolder
from ell_tune.runs.search import Budget
from ell_tune.trials.ranking import ranked
from ell_tune.trials.records import StudyRecord, TrialState

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(3600)]

# Lines that a search of these writes: 15 and more each.
NUM_TRIALS = 24


def kill_again_and_again(searches: Searches, num_kills: int, seed: int, *words: object) -> None:
    """Each time after so many more lines of the journal as spread the kills over the whole search."""
    rng = random.Random(seed)
    num_killed = 0
    before: StudyRecord | None = None
    while num_killed < num_kills:
        num_lines = len(journal(searches.study_dir))
        left = max(2, NUM_TRIALS * 15 - num_lines)
        more = rng.randint(1, max(1, 2 * left // (num_kills - num_killed + 1)))
        with searches.start(NUM_TRIALS, *words) as search:
            assert search.wait_for_lines(num_lines + more), f"ended before kill {num_killed + 1}: {search.ended()}"
            search.kill()
        num_killed += 1
        after = searches.record()
        if before is not None:
            check_kept(before, after)
        before = after
    ended = searches.run(NUM_TRIALS, *words)
    assert ended.code == 0, ended.err
    assert before is not None
    check_kept(before, searches.record())


def test_twenty_kills_change_no_decision_and_lose_nothing(tmp_path: Path, ray_address: str) -> None:
    searches = Searches(tmp_path / "killed", ray_address)
    kill_again_and_again(searches, 20, 1, "--max-concurrent", 1)

    source, reference = make_source(tmp_path / "undisturbed", Budget(NUM_TRIALS))
    run_all(source, tmp_path / "artifacts")
    assert decisions(searches.record()) == decisions(reference.record())
    check_nothing_counted_twice(searches.study_dir, NUM_TRIALS)
    assert checkpoints(searches.study_dir) == []


def test_kills_of_a_search_with_two_workers_lose_nothing_and_each_decision_follows_from_the_journal_before_it(
    tmp_path: Path, ray_address: str
) -> None:
    searches = Searches(tmp_path / "killed", ray_address)
    kill_again_and_again(searches, 5, 2, "--max-concurrent", 2)
    check_nothing_counted_twice(searches.study_dir, NUM_TRIALS)
    assert checkpoints(searches.study_dir) == []
    check_suggestions(searches, tmp_path / "prefixes")
    check_stops(searches)


def test_kills_of_a_search_with_a_disk_budget_leave_whole_weights_of_the_best_that_fit(
    tmp_path: Path, ray_address: str
) -> None:
    searches = Searches(tmp_path / "killed", ray_address, study={"num_folds": 2, "scheduler": False})
    trials_dir = searches.study_dir / "trials"
    assert searches.run(1, "--disk-budget", "1GB").code == 0
    sizes = ArtifactFolder(str(trials_dir), "trial-0000").item_sizes()
    budget = NUM_TRIALS * (sizes["result"] + 20) + 8 * sizes["weights"]
    kill_again_and_again(searches, 6, 3, "--max-concurrent", 2, "--disk-budget", f"{budget}B")
    check_nothing_counted_twice(searches.study_dir, NUM_TRIALS)
    assert sum(path.stat().st_size for path in trials_dir.rglob("*") if path.is_file()) <= budget
    kept = sorted(path.parent.name for path in trials_dir.glob("*/weights"))
    assert f"trial-{ranked(searches.record().trials)[0].number:04d}" in kept and len(kept) < NUM_TRIALS
    assert all("weights" in ArtifactFolder(str(trials_dir), name).names() for name in kept)


def test_a_trial_that_was_done_when_its_driver_died_is_not_trained_again(tmp_path: Path, ray_address: str) -> None:
    trace = tmp_path / "trace"
    searches = Searches(tmp_path, ray_address, base={"trace": str(trace)})
    assert searches.run(1).code == 0
    before = decisions(searches.record())
    lines = (searches.study_dir / "journal.log").read_bytes().splitlines(keepends=True)
    last_score = max(index for index, line in enumerate(journal(searches.study_dir)) if line["op_code"] == SCORED)
    (searches.study_dir / "journal.log").write_bytes(b"".join(lines[: last_score + 1]))
    assert [trial.state for trial in searches.record().trials] == [TrialState.RUNNING]
    ended = searches.run(1)
    assert ended.code == 0, ended.err
    assert decisions(searches.record()) == before
    check_nothing_counted_twice(searches.study_dir, 1)
    assert len(trace.read_text().splitlines()) == 1


def check_suggestions(searches: Searches, folder: Path) -> None:
    """Asks for each suggested trial again, with the journal as it was before, and gets the same."""
    lines = (searches.study_dir / "journal.log").read_bytes().splitlines(keepends=True)
    record = searches.record()
    num_enqueued = num_checked = 0
    for index, line in enumerate(journal(searches.study_dir)):
        if line["op_code"] != 4:  # Optuna's code of a new trial
            continue
        if line.get("state") is not None:
            num_enqueued += 1
            continue
        number = num_enqueued + num_checked
        copy = folder / str(number)
        shutil.copytree(searches.study_dir, copy, ignore=shutil.ignore_patterns("trials"))
        (copy / "journal.log").write_bytes(b"".join(lines[:index]))
        study, spec = make_study(copy)
        study.optuna_study.sampler = make_sampler(spec.study.sampler, spec.study.seed, number)
        trial = study.optuna_study.ask()
        assert spec.space.suggest(trial) == record.trials[number].config
        num_checked += 1
    assert num_enqueued + num_checked == NUM_TRIALS and num_checked >= NUM_TRIALS - 2


def check_stops(searches: Searches) -> None:
    """Enters the scores into rungs in the order of the journal, and stops the same trials."""
    record = searches.record()
    settings = make_study(searches.folder / "again")[1].study
    asha = make_scheduler(settings.scheduler, settings.seed)
    best, stopped = dict[int, float](), set()
    for line in journal(searches.study_dir):
        if line["op_code"] != SCORED:
            continue
        number, step = line["trial_id"], line["step"]
        best[number] = min(best.get(number, float("inf")), line["intermediate_value"])
        if step < record.num_steps and asha.stops(number, step, record.num_steps, best[number]):
            stopped.add(number)
            assert record.trials[number].steps == step
    assert stopped == {trial.number for trial in record.trials if trial.state == TrialState.STOPPED}
    assert 0 < len(stopped) < NUM_TRIALS
