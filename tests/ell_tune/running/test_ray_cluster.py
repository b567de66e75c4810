import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest

from ell_tune.errors import Interrupted, UserError
from ell_tune.running.ray_cluster import connected

_LISTENING = """
from ell_tune.running.ray_environment import set_ray_environment
set_ray_environment(None)
from ell_tune.running.ray_cluster import connected
import psutil
with connected(None) as line:
    print(line)
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        for connection in process.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN:
                print(connection.laddr.ip)
"""


@pytest.mark.slow
def test_a_local_ray_listens_on_loopback_only_and_says_where_its_dashboard_is() -> None:
    done = subprocess.run([sys.executable, "-c", _LISTENING], capture_output=True, text=True, timeout=120, check=True)
    line, *addresses = done.stdout.splitlines()
    assert line.startswith("Ray dashboard: http://127.0.0.1:") and "`ray get-auth-token`" in line
    assert len(addresses) >= 5
    assert {address.removeprefix("::ffff:") for address in addresses} == {"127.0.0.1"}


def test_an_address_of_another_machine_is_refused_at_once() -> None:
    with pytest.raises(UserError, match=r"--address ray://host:10001: a node of the cluster must run this command"):
        with connected("ray://host:10001"):
            pass


def test_sigterm_while_ray_starts_is_an_interruption(monkeypatch: pytest.MonkeyPatch) -> None:
    def end_processes_and_exit(**_: object) -> None:
        raise SystemExit(1)  # as Ray's handler does

    monkeypatch.setattr("ray.init", end_processes_and_exit)
    with pytest.raises(Interrupted), connected(None):
        pass


def test_sigterm_once_ray_has_started_is_not_left_to_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGTERM)

    def put_a_handler_in(**_: object) -> SimpleNamespace:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        return SimpleNamespace(dashboard_url="127.0.0.1:8265")

    monkeypatch.setattr("ray.init", put_a_handler_in)
    monkeypatch.setattr("ray.shutdown", lambda: None)
    try:
        with pytest.raises(KeyboardInterrupt), connected(None):
            os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
