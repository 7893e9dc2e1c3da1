"""Every process of a federation, found by what its command line names, signalled by its id alone.

Whoever plays a row becomes the parent of processes whose own parent was killed, so that none of them
outlives the row and nothing else on the machine is ever touched.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
GRACE_S = 20.0


@dataclass(frozen=True)
class Found:
    """A process of ours: its id, its parent's, and its command line."""

    pid: int
    parent: int
    words: str


def adopt_orphans() -> None:
    """Become the parent of every process below this one whose own parent ends."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def processes_below(pid: int) -> list[Found]:
    """All processes below one, parents first."""
    children: dict[int, list[Found]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and (found := _read(folder)) is not None:
            children.setdefault(found.parent, []).append(found)
    below, at = [], [pid]
    while at:
        found_here = children.get(at.pop(0), [])
        below += found_here
        at += [each.pid for each in found_here]
    return below


def _read(folder: Path) -> Found | None:
    try:
        stat = (folder / "stat").read_text()
        words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:  # it has just ended
        return None
    state, parent = stat.rpartition(")")[2].split()[:2]
    return None if state == "Z" else Found(int(folder.name), int(parent), words)


def matching(*words: str) -> list[Found]:
    """Processes below this one whose command line holds every word, parents first."""
    return [each for each in processes_below(os.getpid()) if all(word in each.words for word in words)]


def send(number: signal.Signals, found: list[Found]) -> None:
    """Signal processes, children first; one that has ended meanwhile needs none."""
    for each in reversed(found):
        with suppress(ProcessLookupError):
            os.kill(each.pid, number)


def end_all() -> None:
    """End every process below this one: politely, then not."""
    send(signal.SIGCONT, processes_below(os.getpid()))
    send(signal.SIGTERM, [each for each in processes_below(os.getpid()) if each.parent == os.getpid()])
    end = time.monotonic() + GRACE_S
    while processes_below(os.getpid()) and time.monotonic() < end:
        _reap()
        time.sleep(0.1)
    while left := processes_below(os.getpid()):
        send(signal.SIGKILL, left)
        _reap()
        time.sleep(0.05)


def _reap() -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
