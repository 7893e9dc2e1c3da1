"""A line that is cut, slow, or loses pieces, between two sockets of this machine."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from chaos_proxy import PIECE_BYTES, STALL_S, Proxy


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    """Before somebody who sends back what comes."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def echo() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                threading.Thread(target=send_back, args=(connection,), daemon=True).start()

        def send_back(connection: socket.socket) -> None:
            with connection:
                while data := connection.recv(65536):
                    connection.sendall(data)

        threading.Thread(target=echo, daemon=True).start()
        yield Proxy(to=listening.getsockname()[1])


def asked(proxy: Proxy, data: bytes) -> bytes:
    """What comes back of what is sent."""
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as line:
        line.sendall(data)
        line.shutdown(socket.SHUT_WR)
        came = b""
        while piece := line.recv(65536):
            came += piece
        return came


def came_of(ask: Callable[[], bytes]) -> bytes:
    """What comes; nothing over a line that breaks, in whichever call its end is met."""
    try:
        return ask()
    except TimeoutError:
        raise
    except OSError:
        return b""


def test_bytes_come_through_in_their_order(proxy: Proxy) -> None:
    data = random.Random(1).randbytes(300_000)
    assert asked(proxy, data) == data


def test_a_slow_line_takes_its_delay_in_each_direction_and_no_longer_for_more(proxy: Proxy) -> None:
    proxy.delay_s = 0.2
    start = time.monotonic()
    assert asked(proxy, bytes(100 * PIECE_BYTES)) == bytes(100 * PIECE_BYTES)
    assert 0.4 <= time.monotonic() - start < 5.0


def test_a_cut_line_breaks_what_is_open_and_lets_nothing_through_until_it_is_mended(
    proxy: Proxy,
) -> None:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as line:
        line.sendall(b"one")
        assert line.recv(3) == b"one"
        proxy.cut()
        assert came_of(lambda: line.recv(1)) == b""
    assert came_of(lambda: asked(proxy, b"two")) == b""
    proxy.mend()
    assert asked(proxy, b"three") == b"three"


def test_a_line_that_loses_stalls_pieces_and_loses_no_byte(proxy: Proxy) -> None:
    proxy.loses = 1.0
    start = time.monotonic()
    came = asked(proxy, b"x")
    assert proxy.n_stalled >= 1
    assert proxy.n_broken or (came == b"x" and time.monotonic() - start >= STALL_S)
