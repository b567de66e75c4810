"""W&B told to send to where nobody answers, or somebody listens and says nothing: the search neither waits nor ends."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from plain_engine import run_all
from searches import Searches, check_nothing_counted_twice, decisions
from studies import make_source

from ell_tune.runs.budget import Budget

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]

NUM_TRIALS = 6


@pytest.fixture(params=["nobody listens", "nobody answers"])
def base_url(request: pytest.FixtureRequest) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0), backlog=128) as server:
        port = server.getsockname()[1]
        if request.param == "nobody listens":
            server.close()
        yield f"http://127.0.0.1:{port}"


def processes_with(variable: str) -> list[str]:
    """The living processes that were started with an environment variable of this value."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if variable.encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append((folder / "cmdline").read_text().replace("\0", " "))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return found


def test_a_search_whose_tracker_cannot_be_reached_ends_as_it_would_have_without(
    tmp_path: Path, ray_address: str, base_url: str
) -> None:
    searches = Searches(tmp_path, ray_address, tracking={"name": "wandb", "mode": "online"})
    environment = {"WANDB_BASE_URL": base_url, "WANDB_API_KEY": "0" * 40, "HOME": str(tmp_path)}
    ended = searches.run(NUM_TRIALS, "--max-concurrent", 1, **environment)
    assert ended.code == 0, ended.err
    assert "the study has every number" in ended.err or "the study has it all" in ended.err
    check_nothing_counted_twice(searches.study_dir, NUM_TRIALS)
    source, reference = make_source(tmp_path / "reference", Budget(NUM_TRIALS))
    run_all(source, tmp_path / "artifacts")
    assert decisions(searches.record()) == decisions(reference.record())
    while processes_with(f"WANDB_BASE_URL={base_url}"):  # W&B's own process notices that its parent is gone
        pass  # or the test runs into its timeout
