"""Who has what now: one holder at a time, known by process, host and time.

    <run>/command.holder   while `launch`, `resume` or `validate` has the run; its Ctrl-C lets go
    <run>/stage.holder     while a ServerApp plays a stage of it, also without its command
    <home>/deployment/serve.holder    while `serve` serves this home

The lock is the kernel's, so that it ends with the process that held it, however that ended. Imports the
run store.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from server.run.folder import RunStore
from shared.errors import OsteoFedError, RunError

Part = Literal["command", "stage"]
LOOKED_AT_S = 0.2  # who looks at a lock has it for a moment


@contextmanager
def held(store: RunStore, part: Part, *, what: str) -> Iterator[None]:
    """Hold a part of a run inside the block.

    Args:
        store: the run.
        part: what is held.
        what: is done with it, "launch train".

    Raises:
        RunError: somebody holds it, who is named.
    """
    with held_file(_file(store, part), what=what, refuse=lambda holder: _played(store, holder)):
        yield


@contextmanager
def held_file(path: Path, *, what: str, refuse: Callable[[str], OsteoFedError]) -> Iterator[None]:
    """Hold a file inside the block.

    Args:
        path: made where there is none, and left.
        what: is done with it.
        refuse: the error that is raised where somebody holds it, who is given in words.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if not _taken(descriptor):
            raise refuse(_in_words(path))
        now = datetime.now(UTC).isoformat(timespec="seconds")
        holder = {"what": what, "pid": os.getpid(), "host": socket.gethostname(), "since": now}
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(holder).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    end = time.monotonic() + LOOKED_AT_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                return False
            time.sleep(LOOKED_AT_S / 10)
        else:
            return True


def require_free(store: RunStore, part: Part) -> None:
    """Refuse to begin while somebody holds a part of a run.

    Raises:
        RunError: somebody does, who is named.
    """
    if holder := holder_of(store, part):
        raise _played(store, holder)


def require_played(store: RunStore) -> None:
    """Refuse to ask a run to pause that nobody plays: there would be nothing to obey it.

    Raises:
        RunError: nobody plays it.
    """
    if not (holder_of(store, "stage") or holder_of(store, "command")):
        run = store.plan.run
        raise RunError(
            "not-played",
            f"nobody plays run {run}, so that it need not be paused",
            hint=f"it goes on with `osteofed-coordinator resume {run}` only; "
            f"`osteofed-coordinator stop {run} --reason …` closes it for good",
        )


def holder_of(store: RunStore, part: Part) -> str:
    """Who holds a part of a run, in words; empty where nobody does."""
    path = _file(store, part)
    if not path.exists():
        return ""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _in_words(path)
    finally:
        os.close(descriptor)
    return ""


def _played(store: RunStore, holder: str) -> RunError:
    run = store.plan.run
    return RunError(
        "being-played",
        f"run {run} is being played: {holder}",
        hint=f"wait for its end, or `osteofed-coordinator pause {run}` ends it before its next round",
    )


def _in_words(path: Path) -> str:
    try:
        holder = json.loads(path.read_bytes())
        return f"{holder['what']}, process {holder['pid']} on {holder['host']} since {holder['since']}"
    except (OSError, ValueError):  # it is just being written
        return "by a process that has just begun"


def _file(store: RunStore, part: Part) -> Path:
    return store.folder / f"{part}.holder"
