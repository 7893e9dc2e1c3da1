"""``osteofed-site`` of a hospital whose executor is ``odd_executor``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from client.command.app import app
from shared.machine.processes import Processes

__all__ = ["app"]
_start = Processes.start
_HONEST = ["-m", "client.node.executor"]


def start(self: Processes, name: str, command: Sequence[str], *, cwd: Path) -> None:
    """Start a process; in the executor's place the odd one."""
    words = list(command)
    if words[1:3] == _HONEST:
        words[1:3] = [str(Path(__file__).with_name("odd_executor.py"))]
    _start(self, name, words, cwd=cwd)


Processes.start = start  # type: ignore[method-assign]
