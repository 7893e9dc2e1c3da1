"""Workers that fail at a film called ``bad``."""

from __future__ import annotations

import os
import signal
import time

from client.intake.workers import ReadFilm


def kill_itself(line, rule) -> None:
    while True:
        path = line.recv()
        if path.name == "bad":
            os.kill(os.getpid(), signal.SIGKILL)
        line.send(ReadFilm(code=path.name))


def hang(line, rule) -> None:
    while True:
        path = line.recv()
        time.sleep(600 if path.name == "bad" else 0)
        line.send(ReadFilm(code=path.name))


def swell(line, rule) -> None:
    """Holds 300 MiB for a moment at a film called ``bad``."""
    while True:
        path = line.recv()
        held = bytearray(300 * 2**20 if path.name == "bad" else 0)
        held[::4096] = b"x" * len(held[::4096])
        del held
        line.send(ReadFilm(code=path.name))
