"""A coordinator that serves on loopback by its own commands, and what anybody may send to it."""

from __future__ import annotations

import base64
import json
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import httpx
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from flwr.proto.fleet_pb2 import ActivateNodeRequest, ActivateNodeResponse, PullMessagesRequest
from flwr.proto.node_pb2 import Node as NodeProto
from flwr.supercore.date import now
from flwr.supercore.primitives.asymmetric import public_key_to_bytes, sign_message
from google.protobuf.message import Message
from typer.testing import CliRunner

from client.site.folder import create_site, join_federation
from client.site.profile import SiteProfile
from server.command.app import app
from server.engines.superlink import Deployment
from shared.machine.processes import free_port

ROOT = Path(__file__).resolve().parents[2]
PROTOBUF = {"content-type": "application/protobuf", "accept": "application/protobuf"}


@dataclass(frozen=True)
class Server:
    """A coordinator's home whose ``serve`` runs, sites beside it."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]
    health: str

    @property
    def home(self) -> Path:
        """The coordinator's."""
        return self.folder / "home"

    @property
    def deployment(self) -> Deployment:
        """Its files."""
        return Deployment(self.home)

    def type(self, *words: str) -> dict[str, object]:
        """What a command of the coordinator tells a program."""
        done = CliRunner().invoke(app, [*words, "--home", str(self.home), "--json"])
        assert done.exit_code == 0, done.output
        return dict(json.loads(done.stdout))

    def site(self, name: str) -> Path:
        """The folder of a site, made where there is none."""
        folder = self.folder / name
        if not folder.exists():
            create_site(folder, name=name, declared_patients=120, profile=SiteProfile())
        return folder

    def enrol(self, name: str) -> Path:
        """A site that is enrolled and has joined."""
        request = self.site(name) / "join-request.json"
        key = json.loads(request.read_bytes())["public_key"]
        told = self.type("enrol", str(request), "--site-key", key)
        assert told["server"] == "the one that runs has followed"
        join_federation(self.site(name), Path(str(told["give to the site"])))
        return self.site(name)

    def post(
        self,
        path: str,
        body: bytes = b"",
        *,
        headers: Mapping[str, str] = {},
        authority: Path | None = None,
    ) -> httpx.Response:
        """One request over TLS, as anybody who reaches the port may send it."""
        context = ssl.create_default_context(cafile=str(authority or self.deployment.authority))
        with httpx.Client(verify=context, timeout=30.0, trust_env=False) as client:
            url = f"https://127.0.0.1:{self.port}{path}"
            return client.post(url, content=body, headers=PROTOBUF | dict(headers))

    def node_id(self, site: str) -> str:
        """The number under which the SuperLink knows an enrolled site."""
        known = json.loads((self.deployment.work / "registered.json").read_bytes())
        return str(known[site]["node"])

    def await_nodes(self, **status: str) -> None:
        """Wait until nodes, by their numbers, are ``online``, ``unregistered`` or whatever else."""
        end = time.monotonic() + 120
        while True:
            listed = self.deployment._flwr("supernode", "list", "federation")["nodes"]
            seen = {each["node-id"]: each["status"] for each in listed}
            if status.items() <= seen.items():
                return
            assert time.monotonic() < end, f"{seen}, not {status}"
            time.sleep(1.0)


@dataclass(frozen=True)
class Node:
    """Whoever holds a node key, signing requests as a SuperNode does."""

    key: ec.EllipticCurvePrivateKey

    @classmethod
    def of(cls, folder: Path) -> Node:
        """The node of a site's folder."""
        read = load_ssh_private_key((folder / "keys" / "node.key").read_bytes(), None)
        assert isinstance(read, ec.EllipticCurvePrivateKey)
        return cls(read)

    @property
    def public(self) -> bytes:
        """The public key as Flower sends it."""
        return public_key_to_bytes(self.key.public_key())

    def signed(self, *, ago_s: float = 0.0) -> dict[str, str]:
        """Headers of a request that was signed some time ago."""
        timestamp = (now() - timedelta(seconds=ago_s)).isoformat()
        signature = sign_message(self.key, timestamp.encode("ascii"))
        return {
            "flwr-public-key": base64.b64encode(self.public).decode(),
            "flwr-timestamp": timestamp,
            "flwr-signature": base64.b64encode(signature).decode(),
        }

    def send(self, server: Server, call: str, request: Message) -> httpx.Response:
        """One signed request to a path of the fleet interface."""
        body = request.SerializeToString(deterministic=True)
        return server.post(f"/v1/fleet/{call}", body, headers=self.signed())

    def activate(self, server: Server) -> httpx.Response:
        """What a SuperNode says first."""
        request = ActivateNodeRequest(public_key=self.public, heartbeat_interval=30.0)
        return self.send(server, "activate-node", request)

    def activated(self, server: Server) -> int:
        """The node's number, once it is let in."""
        answer = self.activate(server)
        assert answer.status_code == 200, answer.text
        return int(ActivateNodeResponse.FromString(answer.content).node_id)

    def pull(self, server: Server, node_id: int) -> httpx.Response:
        """What a SuperNode asks every few seconds."""
        return self.send(server, "pull-messages", self.question(node_id))

    def question(self, node_id: int) -> PullMessagesRequest:
        """Whether there is a message for a node."""
        return PullMessagesRequest(node=NodeProto(node_id=node_id))


@contextmanager
def serving(folder: Path, *words: str) -> Iterator[Server]:
    """``osteofed-coordinator init`` and ``serve``, ended as an operator ends it."""
    port, home = free_port(), folder / "home"
    CliRunner().invoke(app, ["init", "--home", str(home)])
    health = f"127.0.0.1:{free_port()}"
    words = ("--port", str(port), "--health", health, "--home", str(home), *words)
    with started("server", "serve", *words) as process:
        server = Server(folder, port, process, health)
        end = time.monotonic() + 90
        while not (server.deployment.work / "flower" / "config.toml").exists():
            assert process.poll() is None, "serve ended"
            assert time.monotonic() < end, "serve does not come up"
            time.sleep(0.2)
        yield server


@contextmanager
def started(side: str, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """A command of the coordinator or a site in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-c", f"from {side}.command.app import app; app()", *words],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


@contextmanager
def connected(server: Server, name: str) -> Iterator[subprocess.Popen[bytes]]:
    """``osteofed-site start`` of a site."""
    folder = server.site(name)
    with started(
        "client",
        *("start", "--superlink", f"127.0.0.1:{server.port}", "--folder", str(folder)),
        *("--root-certificate", str(server.deployment.authority)),
        *("--auth-key", str(folder / "keys" / "node.key")),
    ) as process:
        yield process
