"""A real deployment on loopback: SuperLink, executors and SuperNodes as processes, torn down after.

TLS with the federation's own authority, SQLite, process isolation with a SuperExec secret, node
authentication. The same commands, spread over machines, are a hospital deployment. Drives Flower by
its command line only.

    <home>/deployment/certificates  logs  flower (FLWR_HOME)  superlink.sqlite
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from server.certificates import ensure_node_key, ensure_server_certificate
from server.processes import Processes, free_port, wait_for_port
from shared.errors import EngineError
from shared.files import write_atomic

CONNECTION = "loopback"
START_S = 60.0
PROJECT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class StageResult:
    """How a stage ended at the coordinator."""

    stage: str
    status: str
    code: str
    fact: str
    hint: str
    seconds: float


@dataclass(frozen=True)
class _Link:
    """Addresses and secrets of one deployment."""

    work: Path
    app: Path
    port: int
    authority: Path
    secret: Path

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"


def deploy_loopback(
    home: Path,
    run_folder: Path,
    site_folders: Mapping[str, Path],
    stages: Sequence[str] = ("train",),
    *,
    after_stage: Callable[[str], None] | None = None,
    stage_timeout_s: float = 3600.0,
    app: Path = PROJECT,
) -> list[StageResult]:
    """Run stages of a run with real Flower processes on this machine, then end them all.

    Args:
        home: the coordinator's home; the deployment's own files lie in ``<home>/deployment``.
        site_folders: folder by site name; each gets a SuperNode and an executor.
        stages: played one after another by the same processes.
        after_stage: called with each finished stage, to release a trained model for instance.
        app: folder with the ``pyproject.toml`` of the Flower app.

    Raises:
        EngineError: a process fails to start, ends by itself, or a stage fails without an outcome.
    """
    work = (home / "deployment").resolve()
    results = []
    with Processes(work / "logs", environment=_environment(work)) as processes:
        link = _start_superlink(work, app, processes)
        for name, folder in site_folders.items():
            _register(link, name, folder, processes)
        ports = {
            name: _start_site(link, name, folder.resolve(), processes)
            for name, folder in site_folders.items()
        }
        for port in ports.values():
            wait_for_port(port, processes, timeout_s=START_S)
        for stage in stages:
            result = _play(link, run_folder.resolve(), stage, processes, timeout_s=stage_timeout_s)
            results.append(result)
            if result.status != "finished":
                break
            if after_stage is not None:
                after_stage(stage)
    return results


def _start_superlink(work: Path, app: Path, processes: Processes) -> _Link:
    certificate = ensure_server_certificate(
        work / "certificates", hosts=("127.0.0.1", "localhost"), now=datetime.now(UTC)
    )
    secret = work / "superexec.secret"
    write_atomic(secret, secrets.token_hex(32).encode(), mode=0o600)
    link = _Link(work, app, free_port(), certificate.authority, secret)
    processes.start(
        "superlink",
        [
            _program("flower-superlink"),
            *("--host", "127.0.0.1", "--port", str(link.port)),
            *("--ssl-ca-certfile", str(certificate.authority)),
            *("--ssl-certfile", str(certificate.certificate)),
            *("--ssl-keyfile", str(certificate.key)),
            "--enable-supernode-auth",
            *("--database", str(work / "superlink.sqlite")),
            *("--isolation", "process"),
            *("--superexec-auth-secret-file", str(secret)),
            "--disable-runtime-dependency-installation",
        ],
        cwd=work,
    )
    wait_for_port(link.port, processes, timeout_s=START_S)
    _start_executor(link, "coordinator", link.address, secret, processes, is_tls=True)
    config = (
        f'[superlink]\ndefault = "{CONNECTION}"\n\n[superlink.{CONNECTION}]\n'
        f'address = "{link.address}"\nroot-certificates = "{link.authority}"\n'
    )
    write_atomic(work / "flower" / "config.toml", config.encode())
    return link


def _register(link: _Link, name: str, folder: Path, processes: Processes) -> None:
    """Make a site's node key known to the SuperLink, once: Flower lists no keys, so we remember."""
    public = ensure_node_key(folder / "keys" / "node.key")
    memory = link.work / "registered.json"
    known = json.loads(memory.read_bytes()) if memory.exists() else {}
    if known.get(name) == public.read_text():
        return
    _flwr(link, processes, "supernode", "register", str(public), CONNECTION, "--name", name)
    write_atomic(memory, json.dumps(known | {name: public.read_text()}, indent=1).encode())


def _start_site(link: _Link, name: str, folder: Path, processes: Processes) -> int:
    """Start a site's SuperNode and executor; the port of the SuperNode's local interface."""
    port = free_port()
    secret = folder / "keys" / "superexec.secret"
    write_atomic(secret, secrets.token_hex(32).encode(), mode=0o600)
    processes.start(
        f"{name}-supernode",
        [
            _program("flower-supernode"),
            *("--superlink", link.address),
            *("--root-certificates", str(link.authority)),
            *("--auth-supernode-private-key", str(folder / "keys" / "node.key")),
            *("--node-config", f"site-folder={json.dumps(str(folder))}"),
            *("--isolation", "process"),
            *("--host", "127.0.0.1", "--port", str(port)),
            *("--superexec-auth-secret-file", str(secret)),
        ],
        cwd=folder,
    )
    _start_executor(link, name, f"127.0.0.1:{port}", secret, processes, is_tls=False)
    return port


def _start_executor(
    link: _Link, name: str, address: str, secret: Path, processes: Processes, *, is_tls: bool
) -> None:
    trust = ("--root-certificates", str(link.authority)) if is_tls else ("--insecure",)
    processes.start(
        f"{name}-executor",
        [
            _program("flower-superexec"),
            *("--runtime-api-address", address),
            *trust,
            *("--superexec-auth-secret-file", str(secret)),
        ],
        cwd=link.work,
    )


def _play(
    link: _Link, run_folder: Path, stage: str, processes: Processes, *, timeout_s: float
) -> StageResult:
    outcome_file = run_folder / f"outcome-{stage}.json"
    outcome_file.unlink(missing_ok=True)
    config = link.work / f"run-{stage}.toml"
    lines = f'run-folder = {json.dumps(str(run_folder))}\nstage = "{stage}"\n'
    write_atomic(config, lines.encode())
    start = time.monotonic()
    told = _flwr(link, processes, "run", str(link.app), CONNECTION, "--run-config", str(config))
    run_id = told["run-id"]
    status = ""
    while not status.startswith("finished"):
        processes.require_alive()
        if time.monotonic() - start > timeout_s:
            raise EngineError("stage-timeout", f"{stage} took more than {timeout_s:g} s")
        time.sleep(1.0)
        listed = _flwr(link, processes, "ls", CONNECTION, "--run-id", str(run_id))
        status = str(listed["runs"][0]["status"])
    if not outcome_file.exists():
        raise EngineError(
            "stage-failed",
            f"{stage} ended as {status} without an outcome",
            hint=f"see coordinator-executor.log in {link.work / 'logs'}",
        )
    outcome = json.loads(outcome_file.read_bytes())
    return StageResult(**outcome, seconds=time.monotonic() - start)


def _flwr(link: _Link, processes: Processes, *arguments: str) -> dict[str, Any]:
    command = [_program("flwr"), *arguments, "--format", "json"]
    told = dict(json.loads(processes.run(command, cwd=link.work, timeout_s=START_S)))
    if not told.get("success"):  # the exit code is 0 all the same
        raise EngineError(
            "flower-refused",
            f"`flwr {arguments[0]}` failed: {told.get('error-message', 'no reason given')}",
            hint=f"see commands.log in {link.work / 'logs'}",
        )
    return told


def _program(name: str) -> str:
    """A Flower program beside this Python, not another one on the path."""
    return str(Path(sys.executable).parent / name)


def _environment(work: Path) -> dict[str, str]:
    """Offline, quiet, with Flower's own files inside the deployment; nothing of the caller's path."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return kept | {
        "FLWR_HOME": str(work / "flower"),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.05",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "OMP_NUM_THREADS": "1",
    }
