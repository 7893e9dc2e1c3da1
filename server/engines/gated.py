"""Flower's SuperLink with a gate: other machines reach the sites' interface and nothing else.

Flower serves fleet, control and runtime on one port and authenticates nobody on the last two: who
reaches them may start runs, register nodes and read logs. Here a request from another address passes to
``/v1/fleet/`` and ``/health`` only; the coordinator's own commands come from this machine. No request
may be larger or slower than any message of Flower's is, its headers neither, and nobody elsewhere may
hold many connections. ``python -m server.engines.gated`` takes the arguments of ``flower-superlink``.
Replaces a private name of Flower, ``flwr.superlink.extensions.get_middleware``, and which protocol
uvicorn takes by itself; a test fails when they are gone.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
from collections.abc import Sequence
from http import HTTPStatus

import uvicorn.config
from flwr.superlink import extensions
from flwr.superlink.cli.flower_superlink import flower_superlink
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

FLEET, HEALTH = "/v1/fleet/", "/health"
# Flower cuts arrays into pieces of 5 MiB (FLWR_PRIVATE_MAX_ARRAY_CHUNK_SIZE) and bundles at 10 MiB
# (FAB_MAX_SIZE); our encoders travel in pieces of 4 MiB.
MOST_BYTES = 32 * 2**20
BODY_S = 300.0  # 5 MiB at 0.15 Mbit/s
HEADERS_S = 15.0  # less than a kilobyte of them
# From elsewhere: a SuperNode has one or two at a time, and hospitals may share an address.
MOST_CONNECTIONS, MOST_OF_ONE = 512, 64


class Door(HttpToolsProtocol):
    """One connection; closed where there are too many, or a request's headers do not come in time."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Let it in, or close it at once."""
        super().connection_made(transport)
        if _is_crowded(self.client, [each.client for each in self.connections]):
            transport.abort()
        else:
            self._watch()

    def data_received(self, data: bytes) -> None:
        """Pass on what came, and wait for the rest of a request's headers or no longer."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        self._wait_no_more()
        super().connection_lost(exc)

    def _watch(self) -> None:
        if self._is_at_work():  # the gate looks after its body
            self._wait_no_more()
        elif self._timer is None:
            self._timer = self.loop.call_later(HEADERS_S, self._close)

    def _is_at_work(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _wait_no_more(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _close(self) -> None:
        self._timer = None
        if not self._is_at_work():
            self.transport.abort()


def _is_crowded(client: tuple[str, int] | None, clients: Sequence[tuple[str, int] | None]) -> bool:
    """Whether a connection from elsewhere is one too many, of all or of its address."""
    if _is_here(client):
        return False
    elsewhere = [each for each in clients if not _is_here(each)]
    of_one = sum(each is not None and client is not None and each[0] == client[0] for each in elsewhere)
    return len(elsewhere) > MOST_CONNECTIONS or of_one > MOST_OF_ONE


class Gate:
    """Stands before every request to a SuperLink.

    Args:
        app: Flower's own.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it here."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] != "http" or not may_pass(scope):
            await _answer(send, HTTPStatus.NOT_FOUND)
        elif _declared_bytes(scope) > MOST_BYTES:
            await _answer(send, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        else:
            body = await _read(receive)
            if isinstance(body, HTTPStatus):
                await _answer(send, body)
            else:
                await self._app(scope, _again(body, receive), send)


def may_pass(scope: Scope) -> bool:
    """Whether a request is for the sites' interface, or comes from this machine."""
    path = scope["path"]
    return path.startswith(FLEET) or path == HEALTH or _is_here(scope.get("client"))


def _is_here(client: tuple[str, int] | None) -> bool:
    try:
        address = ipaddress.ip_address(client[0] if client else "")
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def _declared_bytes(scope: Scope) -> int:
    lengths = [value for name, value in scope["headers"] if name == b"content-length"]
    return max((int(length) for length in lengths if length.isdigit()), default=0)


async def _read(receive: Receive) -> bytes | HTTPStatus:
    """The whole body, which Flower would hold in memory too; or why it is not waited for."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            while True:
                message = await receive()
                body += message.get("body", b"")
                if len(body) > MOST_BYTES:
                    return HTTPStatus.REQUEST_ENTITY_TOO_LARGE
                if message["type"] == "http.disconnect" or not message.get("more_body"):
                    return bytes(body)
    except TimeoutError:
        return HTTPStatus.REQUEST_TIMEOUT


def _again(body: bytes, receive: Receive) -> Receive:
    """Hands out a body that was read, then what comes after it."""
    left: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def hand_out() -> Message:
        return left.pop() if left else await receive()

    return hand_out


async def _answer(send: Send, status: HTTPStatus) -> None:
    headers = [(b"content-length", b"0"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": int(status), "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def main() -> None:
    """Run Flower's SuperLink behind the gate."""
    # of uvicorn: whose word is taken for where a request came from before a proxy of this machine
    os.environ["FORWARDED_ALLOW_IPS"] = "127.0.0.1"
    extensions.get_middleware = lambda: (Middleware(Gate),)
    uvicorn.config.HTTP_PROTOCOLS["auto"] = f"{Door.__module__}:{Door.__name__}"
    flower_superlink()


if __name__ == "__main__":
    main()
