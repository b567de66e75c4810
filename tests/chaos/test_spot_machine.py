"""A machine that is taken away: SIGTERM, then a grace period, then nothing. The search says in time how to go on."""

import os
import signal
import subprocess
from pathlib import Path

import pytest
from searches import (
    Ended,
    Running,
    Searches,
    check_kept,
    check_nothing_counted_twice,
    checkpoints,
    num_scores,
    processes_below,
)

from ell_tune.interruption import EXIT_CODE, HOW_TO_GO_ON
from ell_tune.trials.records import TrialState

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]

GRACE_SECONDS = 30  # what the clouds give at least
NUM_STEPS = 6


def ends_within_the_grace_period(search: Running) -> Ended:
    try:
        search.process.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        pytest.fail(f"it still runs {GRACE_SECONDS} seconds after SIGTERM; its output: {search.out()}")
    return search.ended()


@pytest.mark.parametrize("hangs", [False, True])
@pytest.mark.parametrize("to_all", [False, True])
def test_a_search_told_to_end_ends_in_time_and_loses_at_most_the_evaluation_under_way(
    tmp_path: Path, hangs: bool, to_all: bool
) -> None:
    """`hangs`: the evaluation under way takes longer than there is. `to_all`: every process gets the signal at once."""
    trace = tmp_path / "trace"
    base = {"seconds_per_step": 0.3, "evaluations": NUM_STEPS, "trace": str(trace)}
    if hangs:
        base["fault"] = f"hang_once:{tmp_path / 'hangs'}"
    searches = Searches(tmp_path, None, base=base, study={"num_folds": 2, "scheduler": False})
    words = ["--max-concurrent", 1]
    with searches.start(2, *words) as search:
        reached = (tmp_path / "hangs").exists if hangs else lambda: num_scores(searches.study_dir) >= 3
        assert search.wait_until(reached), search.ended()
        told = [search.process.pid, *(processes_below(search.process.pid) if to_all else [])]
        for pid in told:
            try:
                os.kill(pid, signal.SIGTERM)
            except ProcessLookupError:
                pass  # the first ones' end has ended it
        ended = ends_within_the_grace_period(search)
    if to_all and ended.code == 1:
        assert "core_worker" in ended.err  # Ray's library misses Ray's processes, and ends this one in its own way
    else:
        assert ended.code == EXIT_CODE, ended.err
        assert ended.err.splitlines()[-1] == HOW_TO_GO_ON
    before = searches.record()
    [trial] = before.trials
    assert trial.state == TrialState.RUNNING and trial.steps < NUM_STEPS
    [checkpoint] = checkpoints(searches.study_dir)
    num_saved = int(checkpoint[-6:]) + 1
    assert trial.steps <= num_saved <= trial.steps + 1

    ended = searches.run(2, *words)
    assert ended.code == 0, ended.err
    check_kept(before, searches.record())
    check_nothing_counted_twice(searches.study_dir, 2)
    assert [list(trial.curve) for trial in searches.record().trials] == [list(range(1, NUM_STEPS + 1))] * 2
    assert [int(line.split()[2]) for line in trace.read_text().splitlines()] == [1, num_saved, 1]
    assert checkpoints(searches.study_dir) == []
