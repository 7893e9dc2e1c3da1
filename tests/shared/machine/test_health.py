"""Health checks of a real gRPC client, and the web routes that they stand for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import grpc
import pytest
from grpc_health.v1 import health_pb2
from practice_health import NOT_SERVING, SERVING, check

from shared.errors import EngineError
from shared.machine.health import SERVICE, answers, is_refusal, serving_health
from shared.machine.processes import free_port


def test_it_serves_as_long_as_the_process_does_and_no_longer() -> None:
    address, said = f"127.0.0.1:{free_port()}", [True, False, True]

    def is_well() -> bool:
        return said.pop(0)

    with serving_health(address, is_well):
        assert [check(address) for _ in range(3)] == [SERVING, NOT_SERVING, SERVING]
        assert check(address) == NOT_SERVING, "a check that broke is no"
    with pytest.raises(grpc.RpcError) as caught:
        check(address)
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


def test_it_knows_one_service_and_is_the_standard_one() -> None:
    address = f"127.0.0.1:{free_port()}"
    assert health_pb2.DESCRIPTOR.services_by_name["Health"].full_name == SERVICE
    with serving_health(address, lambda: True):
        with pytest.raises(grpc.RpcError) as caught:
            check(address, "fleet")
        assert caught.value.code() == grpc.StatusCode.NOT_FOUND
        with pytest.raises(EngineError) as taken, serving_health(address, lambda: True):
            pass
        assert taken.value.code == "engine.health-not-listening"
        assert address in taken.value.fact


def test_without_an_address_nothing_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpc, "server", lambda *_, **__: pytest.fail("it listens"))
    with serving_health("", lambda: True):
        pass


class Routes(BaseHTTPRequestHandler):
    """200 for one route, 401 for what is posted, 404 for the others."""

    def do_GET(self) -> None:
        self.send_response_only(200 if self.path == "/health" else 404)
        self.end_headers()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response_only(401)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Routes)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_route_says_its_status_whatever_proxy_is_named(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    asked = answers(f"{url}/health"), answers(f"{url}/"), answers(f"{url}/health", body=b"")
    assert asked == (200, 404, 401)
    assert answers(f"http://127.0.0.1:{free_port()}/health") == 0


@pytest.mark.parametrize(
    ("status", "is_one"),
    [(0, False), (200, False), (400, True), (401, True), (404, False), (415, True), (500, False)],
)
def test_a_refusal_is_of_a_route_that_is_there(status: int, is_one: bool) -> None:
    assert is_refusal(status) is is_one
