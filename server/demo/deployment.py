"""A whole deployment on loopback: SuperLink, SuperNodes and executors as processes, torn down after.

The same commands, spread over machines, are a hospital deployment.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from client.node.supernode import start_supernode
from server.engines.superlink import START_S, Deployment
from server.run.folder import open_run
from shared.machine.processes import free_port, wait_for_port
from shared.signing.keys import ensure_node_key


@dataclass(frozen=True)
class StageResult:
    """A stage that finished, and how long it took."""

    stage: str
    seconds: float


def deploy_loopback(
    home: Path,
    run_folder: Path,
    site_folders: Mapping[str, Path],
    stages: Sequence[str] = ("train",),
    *,
    after_stage: Callable[[str], None] | None = None,
    stage_timeout_s: float = 3600.0,
) -> list[StageResult]:
    """Play stages of a run with real Flower processes on this machine, then end them all.

    Args:
        home: the coordinator's home; the deployment's own files lie in ``<home>/deployment``.
        site_folders: folder by site name; each gets a SuperNode and an executor.
        stages: played one after another by the same processes.
        after_stage: called after each stage, to release a trained model for instance.

    Raises:
        OsteoFedError: what stopped a stage, under its own code; a RunError is resumable.
        EngineError: a process fails to start or ends by itself, or Flower refuses a command.
    """
    deployment, store = Deployment(home), open_run(run_folder)
    results = []
    with deployment.processes() as processes:
        port = free_port()
        deployment.start(processes, host="127.0.0.1", port=port, names=("127.0.0.1", "localhost"))
        keys = {name: path.resolve() / "keys" / "node.key" for name, path in site_folders.items()}
        for name, key in keys.items():
            deployment.register(name, ensure_node_key(key))
        local_ports = [
            start_supernode(
                processes,
                folder.resolve(),
                superlink=f"127.0.0.1:{port}",
                root_certificate=deployment.authority,
                auth_key=keys[name],
                name=name,
            )
            for name, folder in site_folders.items()
        ]
        for local_port in local_ports:
            wait_for_port(local_port, processes, timeout_s=START_S)
        for stage in stages:
            start = time.monotonic()
            deployment.play(store, stage, timeout_s=stage_timeout_s, is_alive=processes.require_alive)
            results.append(StageResult(stage, time.monotonic() - start))
            if after_stage is not None:
                after_stage(stage)
    return results
