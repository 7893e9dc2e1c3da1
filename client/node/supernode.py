"""The hospital's two processes: a SuperNode that talks to the coordinator, an executor with the data.

The SuperNode has the way out and no data; the executor has the data and answers only the SuperNode,
over loopback, with a shared secret made anew at each start. Both end together, and are started again
for as long as a server may refuse a SuperNode that was killed. Imports processes.
"""

from __future__ import annotations

import json
import secrets
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Thread

from shared.errors import EngineError
from shared.machine.files import PROJECT, write_atomic
from shared.machine.processes import (
    Processes,
    end_on_sigterm,
    flower_environment,
    free_port,
)
from shared.machine.terminal import say
from shared.signing.keys import require_closed

WARN_EVERY_S = 86400.0
AGAIN_AFTER_S = 10.0
REFUSED_FOR_S = 120.0  # twice what a server takes to miss a SuperNode that was killed


def start_supernode(
    processes: Processes,
    folder: Path,
    *,
    superlink: str,
    root_certificate: Path,
    auth_key: Path,
    name: str = "site",
    health: str = "",
) -> int:
    """Start a site's SuperNode and executor; return the port of the SuperNode's local interface.

    Args:
        folder: the site folder.
        superlink: ``host:port`` of the coordinator's server.
        root_certificate: the federation's authority.
        auth_key: private key with which the SuperNode authenticates.
        name: names the processes and their logs.
        health: ``host:port`` on which gRPC health checks are answered (``client.node.link``); empty:
            nowhere.
    """
    port = free_port()
    secret = folder / "keys" / "executor.secret"
    write_atomic(secret, secrets.token_hex(32).encode(), mode=0o600)
    processes.start(
        f"{name}-supernode",
        [
            *(sys.executable, "-m", "client.node.link"),
            *("--superlink", superlink),
            *("--root-certificates", str(root_certificate)),
            *("--auth-supernode-private-key", str(auth_key)),
            *("--node-config", f"site-folder={json.dumps(str(folder))}"),
            *("--isolation", "process"),
            *("--host", "127.0.0.1", "--port", str(port)),
            *("--superexec-auth-secret-file", str(secret)),
            *(("--health-server-address", health) if health else ()),
        ],
        cwd=PROJECT,
    )
    processes.start(
        f"{name}-executor",
        [
            *(sys.executable, "-m", "client.node.executor"),
            *("--runtime-api-address", f"127.0.0.1:{port}"),
            "--insecure",  # loopback within one machine; the secret authenticates
            *("--superexec-auth-secret-file", str(secret)),
        ],
        cwd=PROJECT,
    )
    return port


def serve(
    folder: Path, *, superlink: str, root_certificate: Path, auth_key: Path, health: str = ""
) -> None:
    """Answer the coordinator until stopped by SIGTERM or Ctrl-C; arguments as ``start_supernode``.

    Raises:
        ProtocolError: the node key is missing, or open to others.
        EngineError: the two processes end by themselves again and again.
    """
    require_closed(auth_key)
    end_on_sigterm()
    environment = flower_environment(folder / "cache" / "flower")

    def answer() -> None:
        with Processes(folder / "log", environment=environment) as processes:
            start_supernode(
                processes,
                folder,
                superlink=superlink,
                root_certificate=root_certificate.resolve(),
                auth_key=auth_key.resolve(),
                health=health,
            )
            processes.wait()

    start_again(answer)


def warn_daily(
    warnings: Callable[[], Sequence[str]], *, sleep: Callable[[float], None] = time.sleep
) -> None:
    """Say warnings at once and every day, beside whatever this process does."""

    def warn() -> None:
        while True:
            for each in warnings():
                say(each)
            sleep(WARN_EVERY_S)

    Thread(target=warn, name="warnings", daemon=True).start()


def start_again(
    answer: Callable[[], None],
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Answer, and again after the processes have ended by themselves, unless they keep doing so.

    Flower's server lets a killed SuperNode in again only when it has missed its heartbeats.

    Raises:
        EngineError: they ended again and again for ``REFUSED_FOR_S``.
    """
    first: float | None = None  # of the ends that follow each other
    while True:
        began = clock()
        try:
            return answer()
        except EngineError as error:
            if first is None or clock() - began > REFUSED_FOR_S:  # it had been let in
                first = clock()
            if clock() - first > REFUSED_FOR_S:
                raise
            say(
                f"{error.fact}; it is started again in {AGAIN_AFTER_S:g} s: a server lets a killed one "
                "in after about a minute"
            )
            sleep(AGAIN_AFTER_S)
