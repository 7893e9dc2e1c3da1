"""The end of a ServerApp at one step of a commit: shipped in its bundle beside ``server/app.py``.

A step is the instant before a flush or a rename of what a committed round leaves behind; between two
of them nothing that lasts changes. In round k the process kills itself at the round's step k, once:
that it did lies in ``<home>/died/RUN/k``, with the step's name.
"""

from __future__ import annotations

import os
import re
import signal
from collections import Counter
from pathlib import Path
from typing import Any

_COMMIT = re.compile(r"(.+)/runs/([^/]+)/rounds/train/[.]?(\d{4})")
_seen: Counter[int] = Counter()


def _die_when_due(step: str, path: str) -> None:
    found = _COMMIT.match(path)
    if found is None:
        return
    number = int(found[3])
    _seen[number] += 1
    died = Path(found[1], "died", found[2], f"{number}")
    if _seen[number] == number and not died.exists():
        died.parent.mkdir(parents=True, exist_ok=True)
        died.write_text(f"{step} {re.sub('[.][0-9]+[.]part', '.part', Path(path).name)}")
        os.kill(os.getpid(), signal.SIGKILL)


def install() -> None:
    """Look at every flush and rename of this process from now on."""
    fsync, replace, rename = os.fsync, Path.replace, Path.rename

    def flushed(descriptor: Any) -> None:
        number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
        _die_when_due("flush", os.readlink(f"/proc/self/fd/{number}"))
        fsync(descriptor)

    def replaced(path: Path, target: Any) -> Path:
        _die_when_due("rename to", str(target))
        return replace(path, target)

    def renamed(path: Path, target: Any) -> Path:
        _die_when_due("rename to", str(target))
        return rename(path, target)

    os.fsync = flushed
    Path.replace, Path.rename = replaced, renamed  # type: ignore[method-assign]


install()
