"""Workers that fail at a film called ``bad``, and a note of what workers are given."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from client.intake import films
from client.intake.read_film import ReadFilm, encode_read
from client.intake.workers import read_films


def path_from(line) -> Path:
    return Path(os.fsdecode(line.recv_bytes()))


def send_an_object(line, rule) -> None:
    """Answers a film called ``bad`` as who has taken a worker over would: by an object that acts."""
    while True:
        path = path_from(line)
        if path.name == "bad":
            line.send(Acting(str(path.with_name("acted"))))
        else:
            line.send_bytes(encode_read(ReadFilm(code=path.name)))


class Acting:
    """Makes a file when it is unpickled."""

    def __init__(self, place: str) -> None:
        self.place = place

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (self.place,)


def kill_itself(line, rule) -> None:
    while True:
        path = path_from(line)
        if path.name == "bad":
            os.kill(os.getpid(), signal.SIGKILL)
        line.send_bytes(encode_read(ReadFilm(code=path.name)))


def hang(line, rule) -> None:
    while True:
        path = path_from(line)
        time.sleep(600 if path.name == "bad" else 0)
        line.send_bytes(encode_read(ReadFilm(code=path.name)))


def swell(line, rule) -> None:
    """Holds 300 MiB for a moment at a film called ``bad``."""
    while True:
        path = path_from(line)
        held = bytearray(300 * 2**20 if path.name == "bad" else 0)
        held[::4096] = b"x" * len(held[::4096])
        del held
        line.send_bytes(encode_read(ReadFilm(code=path.name)))


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
        line.recv_bytes()
        time.sleep(0.02)
        line.send_bytes(encode_read(ReadFilm(code=str(time.time()))))
