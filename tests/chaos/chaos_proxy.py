"""A TCP proxy on loopback that stands for a bad line: cut, slow, or breaking now and then.

It passes bytes on and cannot drop single packets, nor could TCP let them be missing: what an
application sees of packet loss is a stall until the packet is sent again, and now and then a broken
connection. So ``loses`` stalls a share of the pieces, and breaks every hundredth of those.
"""

from __future__ import annotations

import asyncio
import random
import threading
from contextlib import suppress

from shared.machine.processes import free_port

PIECE_BYTES = 1448  # of a packet on an ordinary line
STALL_S = 0.4  # TCP sends again after a round trip and a little
BREAKS_ONE_IN = 100


class Proxy:
    """Passes connections on to a port until it is told to be a bad line.

    Args:
        to: port on loopback.

    Attributes:
        port: on which it listens.
        delay_s: that every piece takes, in each direction.
        loses: share of pieces that stall.
    """

    def __init__(self, *, to: int) -> None:
        self.port, self.delay_s, self.loses = free_port(), 0.0, 0.0
        self.n_stalled = self.n_broken = self.n_refused = 0
        self._to, self._is_cut = to, False
        self._open: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        is_up = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(is_up,), daemon=True)
        self._thread.start()
        is_up.wait()

    def cut(self) -> None:
        """Break every connection and let none come up."""
        self._is_cut = True
        self._loop.call_soon_threadsafe(self._break_all)

    def mend(self) -> None:
        """Let connections through again."""
        self._is_cut = False

    def _run(self, is_up: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(asyncio.start_server(self._accept, "127.0.0.1", self.port))
        is_up.set()
        self._loop.run_forever()

    def _break_all(self) -> None:
        for writer in list(self._open):
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            self.n_refused += 1
            writer.transport.abort()
            return
        with suppress(OSError):
            there, back = await asyncio.open_connection("127.0.0.1", self._to)
            self._open |= {writer, back}
            ways = (self._pass(reader, back), self._pass(there, writer))
            await asyncio.gather(*ways, return_exceptions=True)
            self._open -= {writer, back}
            back.transport.abort()
        writer.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Hand on what comes, each piece late by the delay but not later for those before it."""
        clock, due = self._loop.time, 0.0
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def deliver() -> None:
            while True:
                at, data = await queue.get()
                await asyncio.sleep(max(0.0, at - clock()))
                if not data:
                    with suppress(OSError):
                        writer.write_eof()
                    return
                writer.write(data)
                await writer.drain()

        delivering = asyncio.ensure_future(deliver())
        while data := await reader.read(PIECE_BYTES):
            late = 0.0
            if random.random() < self.loses:
                self.n_stalled += 1
                late = STALL_S
                if random.random() * BREAKS_ONE_IN < 1:
                    self.n_broken += 1
                    writer.transport.abort()
                    break
            due = max(due, clock() + self.delay_s + late)  # bytes keep their order
            queue.put_nowait((due, data))
        queue.put_nowait((max(due, clock() + self.delay_s), b""))
        await delivering
