"""The coordinator's SuperLink and its executor, and stages submitted to it.

TLS with the federation's own authority, SQLite, process isolation with a secret, node
authentication, a gate before all that is not for sites. Flower's own command line is the interface.

    <home>/deployment/certificates  logs  superlink.sqlite  registered.json
    <home>/deployment/flower        FLWR_HOME; its config.toml says where the SuperLink is
    <home>/deployment/serve.holder  while `serve` serves this home
"""

from __future__ import annotations

import json
import secrets
import socket
import sys
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

from server.engines.interrupted import ask_to_stop
from server.engines.nodes import CONNECTION, Nodes
from server.federation.certificates import certificate_ends, ensure_server_certificate
from server.run.folder import RunStore
from server.run.holder import held_file, holder_of
from shared.errors import EngineError, OsteoFedError, error_of
from shared.machine.files import PROJECT, write_atomic
from shared.machine.health import answers, is_refusal, serving_health
from shared.machine.processes import (
    Processes,
    end_on_sigterm,
    flower_environment,
    flower_program,
    require_free_port,
    run_command,
    wait_for_port,
)
from shared.machine.terminal import say

START_S = 60.0
COMMAND_S = 180.0
EXECUTOR = "coordinator-executor"
FLEET, HEALTH = "/v1/fleet/", "/health"
STATUS_EVERY_S = 0.5
FOLLOW_EVERY_S = 1.0
RETRY_S = 30.0
WARN_EVERY_S = 86400.0
AWAY_S = 60.0  # for which a ServerApp waits for its SuperLink
LIST_EVERY_S = 20.0  # `flwr ls` starts a Python of its own, seconds of a core


@dataclass(frozen=True)
class Deployment:
    """The coordinator's side of a deployment, below its home."""

    home: Path

    @property
    def work(self) -> Path:
        """Where the deployment's own files lie."""
        return (self.home / "deployment").resolve()

    @property
    def authority(self) -> Path:
        """The certificate that every site must trust."""
        return self.work / "certificates" / "ca.pem"

    def processes(self) -> Processes:
        """Processes with this deployment's environment and logs."""
        return Processes(self.work / "logs", environment=flower_environment(self.work / "flower"))

    def start(self, processes: Processes, *, host: str, port: int, names: Sequence[str]) -> None:
        """Start SuperLink and executor, and point ``flwr`` at them.

        Args:
            host: address to listen on.
            names: DNS names and addresses under which sites reach the SuperLink, loopback included.

        Raises:
            EngineError: another process has the port, or the SuperLink does not come up.
        """
        require_free_port(host, port)
        certificate = ensure_server_certificate(
            self.work / "certificates", hosts=names, now=datetime.now(UTC)
        )
        secret = self.work / "executor.secret"
        write_atomic(secret, secrets.token_hex(32).encode(), mode=0o600)
        processes.start(
            "superlink",
            [
                *(sys.executable, "-m", "server.engines.gated"),
                *("--host", host, "--port", str(port)),
                *("--ssl-ca-certfile", str(certificate.authority)),
                *("--ssl-certfile", str(certificate.certificate)),
                *("--ssl-keyfile", str(certificate.key)),
                "--enable-supernode-auth",
                *("--database", str(self.work / "superlink.sqlite")),
                *("--isolation", "process"),
                *("--superexec-auth-secret-file", str(secret)),
                "--disable-runtime-dependency-installation",
            ],
            cwd=PROJECT,
        )
        address = f"127.0.0.1:{port}"
        wait_for_port(port, processes, timeout_s=START_S)
        processes.start(
            EXECUTOR,
            [
                flower_program("flower-superexec"),
                *("--runtime-api-address", address),
                *("--root-certificates", str(certificate.authority)),
                *("--superexec-auth-secret-file", str(secret)),
            ],
            cwd=self.work,
        )
        lines = (
            f'[superlink]\ndefault = "{CONNECTION}"\n\n[superlink.{CONNECTION}]\n'
            f'address = "{address}"\nroot-certificates = "{certificate.authority}"\n'
        )
        write_atomic(self.work / "flower" / "config.toml", lines.encode())

    @contextmanager
    def held(self) -> Iterator[None]:
        """Serve this home alone inside the block.

        Raises:
            EngineError: another process does, which is named.
        """

        def served(holder: str) -> EngineError:
            return EngineError(
                "being-served",
                f"this home is being served: {holder}",
                hint="one `serve` is enough: it follows enrolments and a renewed certificate by itself",
            )

        self.work.mkdir(parents=True, exist_ok=True)
        with held_file(self.work / "serve.holder", what="serve", refuse=served):
            yield

    @property
    def nodes(self) -> Nodes:
        """Whom the SuperLink lets in."""
        return Nodes(self.work, self._flwr)

    def port(self) -> int | None:
        """Where the SuperLink was last started on this machine; None: it never was."""
        config = self.work / "flower" / "config.toml"
        if not config.exists():
            return None
        told = tomllib.loads(config.read_text())["superlink"][CONNECTION]["address"]
        return int(told.rpartition(":")[2])

    def is_running(self) -> bool:
        """Whether a SuperLink answers on this machine for this home."""
        port = self.port()
        if port is None:
            return False
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
        except OSError:
            return False
        return True

    def is_serving(self) -> bool:
        """Whether the server's routes answer under the authority; the sites' own refuse a stranger."""
        port = self.port()
        if port is None:
            return False
        here, authority = f"https://127.0.0.1:{port}", self.authority
        fleet = answers(f"{here}{FLEET}pull-messages", authority=authority, body=b"")
        return is_refusal(fleet) and answers(f"{here}{HEALTH}", authority=authority) == HTTPStatus.OK

    def require_valid_certificate(self) -> None:
        """Refuse to ask a SuperLink whose certificate has ended; Flower would blame the network.

        Raises:
            EngineError: the authority's or the server's has ended.
        """
        for name in ("ca.pem", "server.pem"):
            path = self.authority.with_name(name)
            if path.exists() and certificate_ends(path) <= datetime.now(UTC):
                raise EngineError(
                    "certificate-expired",
                    f"the coordinator's certificate {name} ended on {certificate_ends(path):%Y-%m-%d}",
                    hint="`osteofed-coordinator renew-certificate` renews the server's, `doctor` says "
                    "what to do about an authority; then `resume`",
                )

    def play(
        self,
        store: RunStore,
        stage: str,
        *,
        timeout_s: float = float("inf"),
        is_alive: Callable[[], None] = lambda: None,
    ) -> None:
        """Submit a stage of a run, wait for its end, and raise what stopped it.

        Args:
            is_alive: called while waiting; raises when waiting has become useless.

        Raises:
            OsteoFedError: what stopped the stage, under its own code; a RunError is resumable.
            EngineError: Flower refused it, lost it, its server is away, or it took too long.
        """
        outcome_file = store.folder / f"outcome-{stage}.json"
        outcome_file.unlink(missing_ok=True)
        config = self.work / f"run-{stage}.toml"
        folder = json.dumps(str(store.folder.resolve()))
        write_atomic(config, f'run-folder = {folder}\nstage = "{stage}"\n'.encode())
        told = self._submit(store, stage, config)
        now = start = listed_at = there_at = time.monotonic()
        was_held = False
        doubts: list[EngineError] = []
        while not outcome_file.exists():
            is_alive()
            is_held = bool(holder_of(store, "stage"))
            if was_held and not is_held and not outcome_file.exists():
                raise self._failed(store, stage, "its ServerApp has ended without an outcome")
            was_held = is_held
            if now - listed_at > LIST_EVERY_S:
                status = self._status(str(told["run-id"]), doubts)
                is_there = status is not None
                if (status or "").startswith("finished") and not outcome_file.exists():
                    raise self._failed(store, stage, f"Flower ended it as {status} without an outcome")
                if not is_there and now - there_at > AWAY_S:
                    raise self._away()
                listed_at = time.monotonic()  # of a busy machine's core a look takes long
                there_at = listed_at if is_there else there_at
            if now - start > timeout_s:
                raise EngineError("stage-timeout", f"{stage} took more than {timeout_s:g} s")
            time.sleep(STATUS_EVERY_S)
            now = time.monotonic()
        outcome = json.loads(outcome_file.read_bytes())
        if outcome["status"] != "finished":
            is_unknown = outcome["code"] == "osteofed.internal"
            if is_unknown and (there_at < listed_at or not self.is_running()):
                raise self._away()  # what a ServerApp breaks by without its server
            raise error_of(outcome["code"], outcome["fact"], hint=outcome["hint"])

    def _submit(self, store: RunStore, stage: str, config: Path) -> dict[str, Any]:
        try:
            return self._flwr("run", str(PROJECT), CONNECTION, "--run-config", str(config))
        except EngineError as error:
            if error.code != "engine.command-timeout":
                raise
            raise EngineError(
                "command-timeout",
                error.fact,
                hint="it may have been submitted all the same: `osteofed-coordinator status "
                f"{store.plan.run}` says whether it is played; {_again(store, stage)}",
            ) from error

    def _status(self, run_id: str, doubts: list[EngineError]) -> str | None:
        """How Flower has a run; None: its server is not there now.

        Args:
            doubts: looks that failed one after another; a server that restarts may fail one.

        Raises:
            EngineError: a second look has failed.
        """
        if not self.is_running():
            return None
        try:
            listed = self._flwr("ls", CONNECTION, "--run-id", run_id)
        except EngineError as error:
            if not self.is_running():
                return None  # it has just gone
            if error.code == "engine.command-timeout":
                return ""  # the machine is too busy to say
            doubts.append(error)
            if len(doubts) > 1:
                raise
            return ""
        doubts.clear()
        return str(listed["runs"][0]["status"])

    def _failed(self, store: RunStore, stage: str, why: str) -> EngineError:
        is_running = self.is_running()
        return EngineError(
            "stage-failed",
            f"stage {stage} of run {store.plan.run} has failed: {why}",
            hint=f"see coordinator-executor.log in {self.work / 'logs'}; "
            f"{'' if is_running else 'start `serve` again; '}{_again(store, stage)}",
        )

    def _away(self) -> EngineError:
        return EngineError(
            "server-away",
            f"the server of this coordinator has not answered for {AWAY_S:g} s on port {self.port()}",
            hint="see what `serve` says and start it again, then `resume`; committed rounds and what "
            "sites have paid for are kept",
        )

    def _flwr(self, *arguments: str) -> dict[str, Any]:
        told = run_command(
            [flower_program("flwr"), *arguments, "--format", "json"],
            cwd=self.work,
            environment=flower_environment(self.work / "flower"),
            log=self.work / "logs" / "commands.log",
            timeout_s=COMMAND_S,
        )
        answer = dict(json.loads(told))
        if not answer.get("success"):  # the exit code is 0 all the same
            raise EngineError(
                "flower-refused",
                f"`flwr {arguments[0]}` failed: {answer.get('error-message', 'no reason given')}",
                hint=f"see commands.log in {self.work / 'logs'}",
            )
        return answer


def _again(store: RunStore, stage: str) -> str:
    """What goes on with a stage that did not come to its end."""
    run, trained = store.plan.run, store.plan.trained
    if trained and trained.name == stage:
        return f"then `osteofed-coordinator resume {run}` goes on after the last committed round"
    return f"then `osteofed-coordinator validate {run} {stage}` again; what was paid for is sent again"


def serve(
    home: Path,
    *,
    host: str,
    port: int,
    names: Sequence[str],
    node_keys: Callable[[], Mapping[str, str]],
    warn: Callable[[], None] = lambda: None,
    health: str = "",
) -> None:
    """Run the coordinator's SuperLink until stopped by SIGTERM or Ctrl-C; let in the enrolled sites.

    From other addresses than this machine's own only ``/v1/fleet/`` and ``/health`` are reached. Flower
    authenticates nobody on its other paths, so whoever has a shell on this machine may use them.

    Args:
        host: address to listen on.
        names: further DNS names and addresses in the certificate.
        node_keys: public node key by site, of those that are enrolled at the moment.
        warn: called at the start and once a day, to say what will end.
        health: ``host:port`` on which gRPC health checks are answered; empty: nowhere.

    A SuperLink that ends by itself is started again, so that runs go on; and so is the executor.

    Raises:
        EngineError: this home is served already, the port is taken, a SuperLink ended before it was
            up, or nobody can listen for health checks.
    """
    end_on_sigterm()
    deployment = Deployment(home)
    with (
        deployment.held(),
        serving_health(health, deployment.is_serving),
        deployment.processes() as processes,
    ):
        deployment.start(processes, host=host, port=port, names=("127.0.0.1", "localhost", *names))
        _follow(processes, deployment, node_keys, warn, port=port)


def _follow(
    processes: Processes,
    deployment: Deployment,
    node_keys: Callable[[], Mapping[str, str]],
    warn: Callable[[], None],
    *,
    port: int,
) -> None:
    """Follow the registry and the certificate for as long as all runs."""
    certificate = deployment.authority.with_name("server.pem")
    shown = certificate.read_bytes()
    taken: Mapping[str, str] | None = None
    again = warned = executor_again = time.monotonic()
    warn()
    while True:
        if time.monotonic() - warned > WARN_EVERY_S:
            warn()
            warned = time.monotonic()
        has_ended, is_renewed = processes.has_ended("superlink"), certificate.read_bytes() != shown
        if has_ended or is_renewed:  # runs go on without the SuperLink for about a minute
            shown = certificate.read_bytes()
            processes.restart("superlink")
            wait_for_port(port, processes, timeout_s=START_S, only="superlink")
            why = "it had ended by itself" if has_ended else "with its renewed certificate"
            say(f"the server was started again: {why}")
        if processes.has_ended(EXECUTOR) and time.monotonic() >= executor_again:
            processes.restart(EXECUTOR)
            executor_again = time.monotonic() + RETRY_S  # one that cannot go on is not started all day
            say(
                f"{EXECUTOR} was started again: it had ended by itself; a run that it played is resumed"
            )
        wanted = node_keys()
        if wanted != taken and time.monotonic() >= again:
            try:
                deployment.nodes.admit(wanted)
                taken = wanted
                say(f"may connect: {', '.join(sorted(wanted)) or 'nobody yet'}")
            except EngineError as error:  # of one site; the server stays up for the others
                say(f"{error.code}: {error.fact}; tried again in {RETRY_S:g} s")
                again = time.monotonic() + RETRY_S
        time.sleep(FOLLOW_EVERY_S)


def await_nodes(home: Path, node_keys: Mapping[str, str]) -> bool:
    """Wait until the SuperLink of this home lets in exactly these nodes; False: none runs here.

    Raises:
        EngineError: `serve` has not followed in time.
    """
    deployment = Deployment(home)
    wanted = {site: key.strip() for site, key in node_keys.items()}
    end = time.monotonic() + COMMAND_S
    while deployment.is_running():
        if deployment.nodes.let_in == wanted:
            return True
        if time.monotonic() > end:
            raise EngineError(
                "nodes-not-followed",
                f"the registry is changed, and `serve` has not followed within {COMMAND_S:g} s",
                hint=f"see what `serve` says, and commands.log in {deployment.work / 'logs'}; until it "
                "has followed, a site that was revoked is still let in",
            )
        time.sleep(STATUS_EVERY_S)
    return False


def submit_stage(store: RunStore, stage: str) -> None:
    """Play a stage on the SuperLink that runs for the coordinator's home; raises as ``play``.

    Raises:
        EngineError: no SuperLink was started for this home, or its certificate has ended, before or
            meanwhile.
    """
    deployment = Deployment(store.home)
    if not (deployment.work / "flower" / "config.toml").exists():
        raise EngineError(
            "no-superlink",
            "no SuperLink was started for this coordinator",
            hint="`osteofed-coordinator serve` starts it",
        )
    deployment.require_valid_certificate()
    try:
        deployment.play(store, stage)
    except OsteoFedError as error:
        if isinstance(error, EngineError) or error.code == "osteofed.internal":
            deployment.require_valid_certificate()
        raise
    except KeyboardInterrupt:
        ask_to_stop(store, stage)
        raise
