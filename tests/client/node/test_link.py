"""The SuperNode beside our health service; Flower's part is a name that is put in its place."""

from __future__ import annotations

import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from flwr.supernode.cli import flower_supernode

from client.doctor.connection import Coordinator, look_at_connection
from client.node import link
from shared.machine.processes import free_port


class Runtime(BaseHTTPRequestHandler):
    """A SuperNode's local interface that is well, or not."""

    is_well = True

    def do_GET(self) -> None:
        self.send_response_only(200 if self.path == "/health" and self.is_well else 503)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def state(address: str) -> str:
    """What the doctor says of the health service there."""
    lines = look_at_connection(Coordinator(superlink="", health=address))
    return next(line.state for line in lines if line.name == "gRPC health")


def test_the_health_service_is_ours_and_says_what_the_supernode_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server, health = HTTPServer(("127.0.0.1", 0), Runtime), f"127.0.0.1:{free_port()}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    given = ["--superlink", "hub:9092", "--port", str(server.server_port), "--isolation", "process"]
    seen: list[object] = []

    def supernode() -> None:
        seen.extend([sys.argv[1:], state(health)])
        monkeypatch.setattr(Runtime, "is_well", False)
        seen.append(state(health))

    monkeypatch.setattr(link, "flower_supernode", supernode)
    monkeypatch.setattr(sys, "argv", ["link", *given, f"--health-server-address={health}"])
    link.main()
    assert seen == [given, "ok", "problem"]
    server.shutdown()
    server.server_close()


def test_without_an_address_the_arguments_are_flowers_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert link.flower_supernode is flower_supernode
    seen: list[list[str]] = []
    monkeypatch.setattr(link, "flower_supernode", lambda: seen.append(sys.argv[1:]))
    monkeypatch.setattr(sys, "argv", ["link", "--port", "9094", "--insecure"])
    link.main()
    assert seen == [["--port", "9094", "--insecure"]]
