"""Workers that fail at a film called ``bad``, and a note of what workers are given."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from client.intake import films
from client.intake.workers import ReadFilm, read_films


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


def spy_on_reading(monkeypatch) -> list[Path]:
    """The files that are really read, as they are given to workers."""
    seen: list[Path] = []

    def noting(paths, *arguments, **options):
        seen.extend(paths)
        return read_films(paths, *arguments, **options)

    monkeypatch.setattr(films, "read_films", noting)
    return seen


def note_time(line, rule) -> None:
    """A film takes a moment; its code is when it was read."""
    while True:
        line.recv()
        time.sleep(0.02)
        line.send(ReadFilm(code=str(time.time())))
