"""`kill -9` of what trains: a trial's process, and a node's raylet. The trial goes on elsewhere from its last state."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster
from searches import (
    Running,
    Searches,
    check_nothing_counted_twice,
    checkpoints,
    num_scores,
    processes_below,
)

from ell_tune.running.engine import MAX_LOST_WORKERS
from ell_tune.trials.records import TrialState

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]

NUM_STEPS, LONG = 8, 60


def slow_steps(trace: Path, num_steps: int = NUM_STEPS) -> dict[str, object]:
    """Evaluations slow enough to be caught between two of them."""
    return {
        "base": {"seconds_per_step": 0.3, "evaluations": num_steps, "trace": str(trace)},
        "study": {"num_folds": 2, "scheduler": False},
    }


def fits(trace: Path, trial_number: int) -> list[tuple[int, int]]:
    """Each fit of a trial: its pid, and the evaluation that it began with."""
    lines = [tuple(map(int, line.split())) for line in trace.read_text().splitlines()]
    return [(pid, first) for number, pid, first in lines if number == trial_number]


def kill_worker(search: Running, trace: Path, trial_number: int, after_scores: int) -> None:
    """Kills the process that trains a trial once the trial has so many scores in the journal."""
    assert search.wait_until(lambda: num_scores(search.study_dir, trial_number) >= after_scores), search.ended()
    pid, _ = fits(trace, trial_number)[-1]
    assert pid in processes_below(os.getpid())
    os.kill(pid, signal.SIGKILL)


def test_a_trial_whose_worker_is_killed_as_often_as_allowed_is_completed_from_its_last_states(
    tmp_path: Path, ray_address: str
) -> None:
    trace = tmp_path / "trace"
    searches = Searches(tmp_path, ray_address, **slow_steps(trace))
    with searches.start(2, "--max-concurrent", 1) as search:
        for kill in range(MAX_LOST_WORKERS):
            kill_worker(search, trace, 0, after_scores=2 * kill + 1)
        ended = search.ended()
    assert ended.code == 0, ended.err
    assert [(trial.state, list(trial.curve)) for trial in searches.record().trials] == [
        (TrialState.COMPLETE, list(range(1, NUM_STEPS + 1)))
    ] * 2
    check_nothing_counted_twice(searches.study_dir, 2)
    began = fits(trace, 0)
    assert len({pid for pid, _ in began}) == len(began) == MAX_LOST_WORKERS + 1
    # A state is saved before its score is told, so a kill after score n goes on with n, or what was saved since.
    firsts = [first for _, first in began]
    assert firsts[0] == 1 and all(2 * kill + 1 <= first for kill, first in enumerate(firsts[1:]))
    assert firsts == sorted(firsts)
    assert [first for _, first in fits(trace, 1)] == [1]
    assert checkpoints(searches.study_dir) == []


def test_the_process_that_prepares_the_essays_is_started_again(tmp_path: Path, ray_address: str) -> None:
    trace = tmp_path / "trace"
    searches = Searches(tmp_path, ray_address, **slow_steps(trace))
    with searches.start(3, "--max-concurrent", 1) as search:
        assert search.wait_until(lambda: num_scores(searches.study_dir, 0) >= 1), search.ended()
        [pid] = [pid for pid, title in processes_below(os.getpid()).items() if title.startswith("ray::EssayPreparer")]
        os.kill(pid, signal.SIGKILL)
        kill_worker(search, trace, 1, after_scores=1)  # its successor asks for the essays anew
        ended = search.ended()
    assert ended.code == 0, ended.err
    assert [(trial.state, list(trial.curve)) for trial in searches.record().trials] == [
        (TrialState.COMPLETE, list(range(1, NUM_STEPS + 1)))
    ] * 3
    check_nothing_counted_twice(searches.study_dir, 3)
    assert [len(fits(trace, number)) for number in range(3)] == [1, 2, 1]


@pytest.fixture
def two_nodes() -> Iterator[Cluster]:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "dashboard_port": None})
    cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    yield cluster
    cluster.shutdown()


def test_a_trial_on_a_node_that_dies_goes_on_from_its_last_state_on_another(tmp_path: Path, two_nodes: Cluster) -> None:
    [node] = two_nodes.worker_nodes
    raylet = node.all_processes["raylet"][0].process.pid
    trace = tmp_path / "trace"
    # A worker outlives its raylet by some seconds.
    searches = Searches(tmp_path, two_nodes.address, **slow_steps(trace, LONG))
    with searches.start(3, "--max-concurrent", 2) as search:
        assert search.wait_until(
            lambda: num_scores(searches.study_dir, 0) >= 2 and num_scores(searches.study_dir, 1) >= 2
        ), search.ended()
        lost_pids = processes_below(raylet).keys()
        os.kill(raylet, signal.SIGKILL)
        ended = search.ended()
    assert ended.code == 0, ended.err
    assert [(trial.state, list(trial.curve)) for trial in searches.record().trials] == [
        (TrialState.COMPLETE, list(range(1, LONG + 1)))
    ] * 3
    check_nothing_counted_twice(searches.study_dir, 3)
    [on_node] = [number for number in (0, 1) if fits(trace, number)[0][0] in lost_pids]
    [_, (pid, first)] = fits(trace, on_node)
    assert pid not in lost_pids and first >= 2
    assert [first for _, first in fits(trace, 1 - on_node)] == [1]
    assert checkpoints(searches.study_dir) == []
