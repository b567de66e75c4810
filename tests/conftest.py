"""What holds for every test: no model hub, no telemetry, and the same examples on every run."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import Run, in_this_process
from hypothesis import settings

from ell_tune.running.ray_environment import set_ray_environment

# Before any import of ray or transformers, which read them once; processes that tests start inherit them.
os.environ["HF_HUB_OFFLINE"] = "1"
# Read by torch: a test's models are tiny, and two workers of two threads each make them wait for one another, tenfold.
os.environ["OMP_NUM_THREADS"] = "1"
# Ray would give its workers the lowest priority, and they would wait for the other tests that run at the same time.
os.environ["RAY_worker_niceness"] = "0"

# The same tests everywhere: `make gpu` alone shows them a GPU, for those that need one.
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

set_ray_environment(address="of the fixture below")

# No deadline: a busy machine is not a failure.
settings.register_profile("ell-tune", derandomize=True, deadline=None)
settings.load_profile("ell-tune")

# Ray's workers and the command line in a process of its own import `fake_trainable` too.
_TESTS = str(Path(__file__).parent)
os.environ["PYTHONPATH"] = os.pathsep.join([_TESTS, *filter(None, [os.environ.get("PYTHONPATH")])])


def pytest_collection_finish() -> None:
    """Spares the garbage collector what is here for good: looking through it takes half a second each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the `ell-tune` command in this process: exit code, standard output, standard error."""
    return in_this_process(monkeypatch, capsys)


@pytest.fixture(scope="session")
def ray_address() -> Iterator[str]:
    """A Ray cluster of two CPUs, which tests join: to start one for each takes longer than what they test."""
    from ray.cluster_utils import Cluster

    # Without what takes half of a cluster's start, and which a local Ray is tested with in test_ray_cluster.py.
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False, "include_log_monitor": False}
    )
    yield cluster.address
    cluster.shutdown()
