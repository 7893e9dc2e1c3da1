"""A line between a site and its PACS that goes dead in the middle of a chosen film."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

_FILM_ASKED = b"/instances/"  # WADO-RS names one instance; QIDO-RS asks for /instances?


@dataclass
class StallingLine:
    """Passes bytes both ways until a film is on its way, then ``n_bytes`` of it and nothing more.

    ``port`` is where the site connects; ``is_dead`` is set once the line passes nothing any more.
    """

    target_port: int
    nth_film: int
    n_bytes: int
    port: int = 0
    is_dead: threading.Event = field(default_factory=threading.Event)
    _n_asked: int = 0

    def _carry(self, near: socket.socket) -> None:
        with near, socket.create_connection(("127.0.0.1", self.target_port)) as far, suppress(OSError):
            back = threading.Thread(target=self._carry_back, args=(far, near), daemon=True)
            back.start()
            while data := near.recv(2**16):
                self._n_asked += data.count(_FILM_ASKED)
                far.sendall(data)
            far.shutdown(socket.SHUT_WR)
            back.join()

    def _carry_back(self, far: socket.socket, near: socket.socket) -> None:
        left = self.n_bytes
        with suppress(OSError):
            while data := far.recv(2**12):
                if self._n_asked >= self.nth_film:
                    data, left = data[:left], left - len(data)
                    if left <= 0:
                        near.sendall(data)
                        self.is_dead.set()
                        return
                near.sendall(data)


@contextmanager
def stalling_line(target_port: int, *, nth_film: int, n_bytes: int) -> Iterator[StallingLine]:
    """A line to a port of this machine that stalls ``n_bytes`` into the answer to the n-th film."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        line = StallingLine(target_port, nth_film, n_bytes, port=listener.getsockname()[1])

        def accept() -> None:
            with suppress(OSError):
                while True:
                    near, _ = listener.accept()
                    threading.Thread(target=line._carry, args=(near,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield line
        listener.shutdown(socket.SHUT_RDWR)
