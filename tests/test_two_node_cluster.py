"""A search on a Ray cluster of two nodes (processes of this machine, with imaginary GPUs) that it joins by address."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from command import Run
from ray.cluster_utils import Cluster
from studies import write_space

from ell_tune.studies.study import open_study

pytestmark = pytest.mark.slow


@pytest.fixture
def cluster_address(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")  # which hides imaginary GPUs too
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "num_gpus": 1, "dashboard_port": None})
    cluster.add_node(num_cpus=1, num_gpus=1)
    cluster.wait_for_nodes()
    yield cluster.address
    cluster.shutdown()


def test_trials_spread_over_both_nodes_two_on_each_gpu(cluster_address: str, tmp_path: Path, run: Run) -> None:
    run("sample-data", "--essays", 20, "--seed", 1, "--out", tmp_path)
    space = write_space(
        tmp_path / "space.yaml", base={"seconds_per_step": 0.5}, study={"num_folds": 2, "scheduler": False}
    )
    words = ["search", space, "--train", tmp_path / "train.csv", "--study", tmp_path / "study", "--trials", 8]
    code, out, err = run(*words, "--address", cluster_address, "--gpus-per-trial", 0.5, "--cpus-per-trial", 0.5)
    assert code == 0, err
    assert "Ray dashboard" in out
    trials = open_study(tmp_path / "study").record().trials
    assert [trial.state for trial in trials] == ["complete"] * 8
    at_a_time = [sum(t.started <= trial.started < (t.ended or t.started) for t in trials) for trial in trials]
    assert max(at_a_time) == 4  # two nodes, a GPU each, two trials a GPU


def test_an_address_where_no_cluster_is_is_the_users_mistake(tmp_path: Path, run: Run) -> None:
    run("sample-data", "--essays", 20, "--seed", 1, "--out", tmp_path)
    space = write_space(tmp_path / "space.yaml")
    words = ["search", space, "--train", tmp_path / "train.csv", "--study", tmp_path / "study"]
    code, out, err = run(*words, "--address", "127.0.0.1:1")
    assert (code, out) == (2, "")
    assert "--address 127.0.0.1:1: a running Ray cluster is needed there" in err
    assert not (tmp_path / "study").exists()
