"""What the gate before a SuperLink passes; ``tests/federation/test_serving.py`` tries it deployed."""

from __future__ import annotations

import asyncio
import inspect
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import uvicorn
from flwr.superlink import extensions
from flwr.superlink import main as superlink_main
from flwr.superlink.cli.flower_superlink import flower_superlink

from server.engines import gated
from server.engines.gated import Door, Gate, may_pass
from shared.machine.processes import free_port

LOOPBACK = ("127.0.0.1", "127.0.0.9", "::1", "::ffff:127.0.0.1")
ELSEWHERE = ("10.0.0.7", "203.0.113.9", "fe80::1", "::ffff:10.0.0.7", "", "localhost")


def scope(path: str, host: str | None = "10.0.0.7", **headers: str) -> dict[str, Any]:
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    client = None if host is None else (host, 40000)
    return {"type": "http", "path": path, "client": client, "headers": pairs}


@pytest.mark.parametrize("host", [*LOOPBACK, *ELSEWHERE, None])
@pytest.mark.parametrize("path", ["/v1/fleet/pull-messages", "/health"])
def test_a_site_reaches_its_interface_from_everywhere(path: str, host: str | None) -> None:
    assert may_pass(scope(path, host))


@pytest.mark.parametrize(
    "path",
    [
        *("/v1/control/start-run", "/v1/runtime/acquire-task", "/docs", "/openapi.json", "/", ""),
        *("/v1/fleet", "/v1/fleetish/x", "/healthy", "/health/", "//v1/fleet/x", "/V1/fleet/x"),
    ],
)
def test_all_else_is_for_this_machine_alone(path: str) -> None:
    assert all(may_pass(scope(path, host)) for host in LOOPBACK)
    assert not any(may_pass(scope(path, host)) for host in (*ELSEWHERE, None))


class Flower:
    """An app that takes a body as Flower does, and the connection before it."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.status: list[int] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.bodies.append((await receive())["body"])
        assert (await receive())["type"] == "http.disconnect"
        await send({"type": "http.response.start", "status": 200, "headers": []})

    def ask(self, asked: dict[str, Any], *pieces: bytes, is_slow: bool = False) -> int:
        """The status that a request in pieces is answered with."""
        messages = [
            {"type": "http.request", "body": piece, "more_body": place < len(pieces)}
            for place, piece in enumerate(pieces, start=1)
        ]

        async def receive() -> dict[str, Any]:
            if is_slow and len(messages) == 1:
                await asyncio.sleep(60)
            return messages.pop(0) if messages else {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            self.status += [message["status"]] if "status" in message else []

        asyncio.run(Gate(self)(asked, receive, send))
        return self.status[-1]


def test_a_body_is_passed_on_whole_and_what_follows_it_too() -> None:
    flower = Flower()
    assert flower.ask(scope("/v1/fleet/x"), b"one ", b"two") == 200
    assert flower.bodies == [b"one two"]


def test_a_body_may_be_as_large_as_any_piece_of_flowers_and_no_larger(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    flower = Flower()
    monkeypatch.setattr(gated, "MOST_BYTES", 6)
    assert flower.ask(scope("/v1/fleet/x", content_length="6"), b"123", b"456") == 200
    assert flower.ask(scope("/v1/fleet/x", content_length="7"), b"1") == 413
    assert flower.ask(scope("/v1/fleet/x"), b"123", b"456", b"7") == 413, "none was declared"
    assert flower.ask(scope("/v1/control/x", "127.0.0.1"), b"1234567") == 413
    assert flower.bodies == [b"123456"]


def test_a_body_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    flower = Flower()
    monkeypatch.setattr(gated, "BODY_S", 0.05)
    assert flower.ask(scope("/v1/fleet/x"), b"123", b"456", is_slow=True) == 408
    assert flower.bodies == []


def test_what_may_not_pass_never_comes_to_flower() -> None:
    flower = Flower()
    assert flower.ask(scope("/v1/control/start-run"), b"x") == 404
    assert flower.ask(scope("/v1/fleet/x") | {"type": "websocket"}, b"x") == 404
    assert flower.bodies == []


def test_flower_still_asks_for_middleware_where_the_gate_is_put(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(extensions, "get_middleware", extensions.get_middleware)  # put back after
    monkeypatch.setattr(gated, "flower_superlink", lambda: None)
    protocols = dict(uvicorn.config.HTTP_PROTOCOLS)
    monkeypatch.setattr(uvicorn.config, "HTTP_PROTOCOLS", protocols)
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")
    gated.main()
    [outermost, *_] = superlink_main._get_middleware()
    assert outermost.cls is Gate
    assert gated.os.environ["FORWARDED_ALLOW_IPS"] == "127.0.0.1"
    assert "_get_middleware()" in inspect.getsource(superlink_main.create_app)
    config = uvicorn.Config(Flower(), ws="none")
    config.load()
    assert config.http_protocol_class is Door
    started_by_flower = inspect.getsource(inspect.getmodule(flower_superlink))
    assert "uvicorn.run(" in started_by_flower
    assert "http=" not in started_by_flower


async def _answer_slowly(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await asyncio.sleep(1.0 if scope["path"] == "/slow" else 0.0)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Where a server behind doors listens."""
    port = free_port()
    config = uvicorn.Config(
        _answer_slowly, http=Door, ws="none", port=port, lifespan="off", log_level="error"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    end = time.monotonic() + 20
    while not server.started:
        assert time.monotonic() < end
        time.sleep(0.01)
    yield port
    server.should_exit = True
    thread.join(20)
    assert not thread.is_alive()


def _is_closed(connection: socket.socket) -> bool:
    connection.settimeout(10.0)
    try:
        while connection.recv(1000):  # an answer to what came before
            pass
    except TimeoutError:
        return False
    except ConnectionResetError:
        pass
    return True


HALF = b"POST /v1/fleet/x HTTP/1.1\r\nHost: x\r\n"


def test_half_sent_headers_are_closed_after_a_while_and_an_honest_request_is_served_meanwhile(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gated, "HEADERS_S", 0.5)
    slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
    for connection in slow[:10]:
        connection.sendall(HALF)  # and the others send nothing
    again = socket.create_connection(("127.0.0.1", port))
    again.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert again.recv(15) == b"HTTP/1.1 200 OK"
    again.sendall(HALF)  # after a whole request
    assert httpx.get(f"http://127.0.0.1:{port}/", trust_env=False).status_code == 200
    # a request that is at work, or a connection that is used again, is not touched
    with httpx.Client(trust_env=False) as client:
        for path in ("slow", "", "slow"):
            assert client.get(f"http://127.0.0.1:{port}/{path}").status_code == 200
    for connection in (*slow, again):
        assert _is_closed(connection)
        connection.close()


def test_a_crowd_of_connections_from_elsewhere_is_cut_and_this_machine_comes_in_all_the_same(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, near, far = ("127.0.0.1", 1), ("10.0.0.7", 1), ("10.0.0.8", 1)
    monkeypatch.setattr(gated, "MOST_CONNECTIONS", 4)
    monkeypatch.setattr(gated, "MOST_OF_ONE", 3)
    assert not gated._is_crowded(near, [near] * 3 + [here] * 9)
    assert gated._is_crowded(near, [near] * 4)
    assert not gated._is_crowded(far, [near] * 3 + [far])
    assert gated._is_crowded(far, [near] * 3 + [far] * 2)
    assert not gated._is_crowded(here, [near] * 9 + [here] * 9)
    monkeypatch.setattr(gated, "_is_here", lambda _: False)
    held = [socket.create_connection(("127.0.0.1", port)) for _ in range(3)]
    time.sleep(0.3)
    with socket.create_connection(("127.0.0.1", port)) as one_more:
        assert _is_closed(one_more)
    held.pop().close()
    time.sleep(0.3)
    assert httpx.get(f"http://127.0.0.1:{port}/", trust_env=False).status_code == 200
    for connection in held:
        connection.close()
