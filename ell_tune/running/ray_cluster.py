"""Connects to a Ray cluster, or starts Ray on this machine for as long as the command runs."""

import logging
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from math import floor

import ray

from ell_tune.errors import Interrupted, UserError, first_line
from ell_tune.interruption import sigterm_as_ctrl_c
from ell_tune.running.engine import Resources

_PORT_SECONDS = 10


@contextmanager
def connected(address: str | None) -> Iterator[str]:
    """Ray, ready to run jobs. Yields a line that says where its dashboard is.

    Raises:
        UserError: no cluster answers at `address`.
        Interrupted: SIGTERM while Ray starts.
    """
    if address is not None and "://" in address:
        raise UserError(
            f"--address {address}: a node of the cluster must run this command, for it keeps the study, so the address "
            f"is auto or HOST:6379. On another machine, use `ray exec` or `ray attach` (see cluster.yaml)."
        )
    try:
        _check_port(address)
        context = ray.init(address=address or "local", logging_level=logging.ERROR, log_to_driver=False)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(
            f"--address {address}: a running Ray cluster is needed there (auto or HOST:6379), but it "
            f"cannot be joined: {first_line(error)} Start one with `ray start --head`, or leave "
            f"--address out to run on this machine alone."
        ) from None
    except SystemExit:  # while Ray starts, a handler of its own ends its processes at SIGTERM and exits
        raise Interrupted from None
    try:
        url = getattr(context, "dashboard_url", None)
        with sigterm_as_ctrl_c():  # Ray's handler from now on would print the stack of every thread
            yield (
                f"Ray dashboard: http://{url} (its token: `ray get-auth-token`)"
                if url
                else "Ray runs without a dashboard"
            )
    finally:
        ray.shutdown()


def _check_port(address: str | None) -> None:
    """Raises `OSError` if nothing listens at HOST:PORT, for which Ray itself would wait for minutes."""
    match = re.fullmatch(r"(?P<host>[^:/]+):(?P<port>\d+)", address or "")
    if match:
        socket.create_connection((match["host"], int(match["port"])), timeout=_PORT_SECONDS).close()


def resources(cpus: float, gpus: float | None, max_concurrent: int | None, joined: bool) -> Resources:
    """What each trial gets on the cluster that this process is connected to.

    Without `gpus`, a trial gets one GPU where the cluster has any. Without `max_concurrent`, as many trials run as
    fit now; a cluster that grows on demand needs it stated.

    Raises:
        UserError: no trial fits on this machine (`joined`: a cluster may still grow).
    """
    have = ray.cluster_resources()
    if gpus is None:
        gpus = 1.0 if have.get("GPU", 0) >= 1 else 0.0
    fits = min(have.get("CPU", 0) / cpus, have.get("GPU", 0) / gpus if gpus else float("inf"))
    if fits < 1 and not joined:
        raise UserError(
            f"--cpus-per-trial {cpus:g} --gpus-per-trial {gpus:g}: at least one trial must fit on this machine, which "
            f"has {have.get('CPU', 0):g} CPUs and {have.get('GPU', 0):g} GPUs. Ask for less, or join a cluster with "
            f"--address."
        )
    return Resources(cpus, gpus, max_concurrent or max(1, floor(fits)))
