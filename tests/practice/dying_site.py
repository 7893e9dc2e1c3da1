"""A site whose process ends at one step of an answer, and sites that answer at the same time.

A step is the instant before or after a write, a flush or a rename in ``ledger/``, its witness,
``replies/`` or ``outbox/``: between two of them nothing that lasts changes. Children are forked, and
end without cleaning up, as a process does that is killed. Nothing in the product knows of steps.
"""

from __future__ import annotations

import os
import re
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import torch

_KEPT = re.compile(r"/sites/[^/]+/([.]?(?:ledger|replies|outbox).*)")
_HASH = re.compile(r"[0-9a-f]{64}")
DIED = 9


def steps_of(action: Callable[[], object]) -> list[str]:
    """Names of the steps of an action, which is carried out."""
    seen: list[str] = []
    with _stepping(seen.append):
        action()
    return seen


def die_at(step: int, action: Callable[[], object]) -> None:
    """Carry out an action in a child that ends at its step of this number, from 0 on."""
    seen: list[str] = []

    def count(name: str) -> None:
        seen.append(name)
        if len(seen) > step:
            os._exit(DIED)

    def run() -> None:
        with _stepping(count):
            action()

    assert _wait(_fork(run)) == DIED, f"step {step} was not reached"


def at_once(n: int, action: Callable[[], object]) -> None:
    """Carry out an action in ``n`` children that start together."""
    reading, writing = os.pipe()

    def run() -> None:
        os.close(writing)
        os.read(reading, 1)  # ends when the parent opens the gate
        action()

    children = [_fork(run) for _ in range(n)]
    os.close(reading)
    os.close(writing)
    assert [_wait(child) for child in children] == [0] * n


def _fork(action: Callable[[], object]) -> int:
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        torch.set_num_threads(1)  # a pool of threads does not outlive a fork
        action()
        code = 0
    except BaseException:  # noqa: BLE001 - shown, then told by the exit code
        traceback.print_exc()
    finally:
        os._exit(code)


def _wait(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@contextmanager
def _stepping(note: Callable[[str], object]) -> Iterator[None]:
    """Call ``note`` with the name of each step."""
    write, fsync, replace = os.write, os.fsync, Path.replace

    def of_descriptor(call: str, descriptor: int, act: Callable[[], int | None]) -> int | None:
        return around(call, Path(os.readlink(f"/proc/self/fd/{descriptor}")), act)

    def around(call: str, path: Path, act: Callable[[], int | None]) -> int | None:
        kept = _KEPT.search(str(path))
        name = kept and f"{call} {_HASH.sub('HASH', re.sub(r'[.][0-9]+[.]part$', '.part', kept[1]))}"
        if name:
            note(f"before {name}")
        result = act()
        if name:
            note(f"after {name}")
        return result

    def renamed(path: Path, target: Path) -> Path:
        around("rename to", target, lambda: replace(path, target) and None)
        return target

    with (
        mock.patch("os.write", lambda fd, data: of_descriptor("write", fd, lambda: write(fd, data))),
        mock.patch("os.fsync", lambda fd: of_descriptor("flush", fd, lambda: fsync(fd))),
        mock.patch.object(Path, "replace", renamed),
    ):
        yield
