"""A whole deployment on loopback: SuperLink, SuperNodes and executors as processes, torn down after.

The same commands, spread over machines, are a hospital deployment.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from client.node.supernode import start_supernode
from server.engines.launch import launch_stage
from server.engines.superlink import START_S, Deployment
from server.engines.telling import told_events
from server.run.folder import RunStore, open_run
from shared.machine.processes import end_on_sigterm, free_port, wait_for_port
from shared.signing.keys import ensure_node_key

# A prepared run, a stage of it -> once it has ended; raises what stopped it.
Launch = Callable[[RunStore, str], None]


@dataclass(frozen=True)
class StageResult:
    """A stage that finished, and how long it took."""

    stage: str
    seconds: float


@contextmanager
def deployed_here(
    home: Path, site_folders: Mapping[str, Path], *, stage_timeout_s: float = 3600.0
) -> Iterator[Launch]:
    """Start real Flower processes on this machine, and end them all after the block.

    Args:
        home: the coordinator's home; the deployment's own files lie in ``<home>/deployment``.
        site_folders: folder by site name; each gets a SuperNode and an executor.
        stage_timeout_s: of a stage, in seconds.

    Yields:
        What plays a stage by these processes; it raises as ``Deployment.play``.

    Raises:
        EngineError: a process fails to start, or Flower refuses a command.
    """
    end_on_sigterm()
    deployment = Deployment(home)
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

        def launch(store: RunStore, stage: str) -> None:
            with told_events(store, store.plan.stage(stage)):
                deployment.play(
                    store, stage, timeout_s=stage_timeout_s, is_alive=processes.require_alive
                )

        yield launch


@contextmanager
def engine_here(engine: str, home: Path, site_folders: Mapping[str, Path]) -> Iterator[Launch]:
    """Any engine on this machine alone: what plays a stage; deployed, its processes live in the block.

    Args:
        engine: as in the plan's settings.
        home: as of ``deployed_here``.
        site_folders: as of ``deployed_here``.
    """
    if engine == "deployed":
        with deployed_here(home, site_folders) as launch:
            yield launch
    else:
        yield partial(launch_stage, site_folders=site_folders)


def deploy_loopback(
    home: Path,
    run_folder: Path,
    site_folders: Mapping[str, Path],
    stages: Sequence[str] = ("train",),
    *,
    after_stage: Callable[[str], None] | None = None,
    stage_timeout_s: float = 3600.0,
) -> list[StageResult]:
    """Play stages of a run, one after another, by the same processes on this machine.

    Args:
        home: as of ``deployed_here``.
        run_folder: of a prepared run.
        site_folders: as of ``deployed_here``.
        stages: names of stages.
        after_stage: called after each stage, to release a trained model for instance.
        stage_timeout_s: as of ``deployed_here``.

    Raises:
        OsteoFedError: what stopped a stage, under its own code; a RunError is resumable.
        EngineError: a process fails to start or ends by itself, or Flower refuses a command.
    """
    store, results = open_run(run_folder), []
    with deployed_here(home, site_folders, stage_timeout_s=stage_timeout_s) as launch:
        for stage in stages:
            start = time.monotonic()
            launch(store, stage)
            results.append(StageResult(stage, time.monotonic() - start))
            if after_stage is not None:
                after_stage(stage)
    return results
