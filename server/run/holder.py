"""Who plays a run now: one command and one ServerApp at a time, each known by process, host and time.

    <run>/command.holder   while `launch`, `resume` or `validate` has the run; its Ctrl-C lets go
    <run>/stage.holder     while a ServerApp plays a stage of it, also without its command

The lock is the kernel's, so that it ends with the process that held it, however that ended. Imports the
run store.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from server.run.folder import RunStore
from shared.errors import RunError

Part = Literal["command", "stage"]


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
    descriptor = os.open(_file(store, part), os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _played(store, part) from None
        now = datetime.now(UTC).isoformat(timespec="seconds")
        holder = {"what": what, "pid": os.getpid(), "host": socket.gethostname(), "since": now}
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(holder).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def require_free(store: RunStore, part: Part) -> None:
    """Refuse to begin while somebody holds a part of a run.

    Raises:
        RunError: somebody does, who is named.
    """
    if holder_of(store, part):
        raise _played(store, part)


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


def _played(store: RunStore, part: Part) -> RunError:
    run = store.plan.run
    return RunError(
        "being-played",
        f"run {run} is being played: {_in_words(_file(store, part))}",
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
