"""Runs the marked blocks of a page, in order, in one shell and one folder, as a reader would."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markdown_files import Block, blocks

_LIMIT_S, _GRACE_S = 540, 5
_END = "OSTEOFED_END_OF_FILE"
# A hash, the class that a reading is called, a number with its sign.
_MOVES = re.compile(r"\b[0-9a-f]{64}\b|(?<=^  class)\s+\w+|[-+−]?\d+(?:\.\d+)?")


@dataclass(frozen=True)
class PageRun:
    """The marked blocks of one name on one page."""

    page: Path
    name: str
    steps: tuple[Block, ...]

    def __str__(self) -> str:
        """As a test of it is called."""
        return f"{self.page.stem}-{self.name}"

    def not_printed(self, output: str) -> list[str]:
        """Lines that the page shows as printed and that no line of an output is, numbers aside."""
        printed = {_loosely(line) for line in output.splitlines()}
        return [
            f"{block.place}: {line}"
            for block in self.steps
            if _kind(block) == "shows:"
            for line in block.text.splitlines()
            if _loosely(line) not in printed
        ]


@dataclass(frozen=True)
class Ran:
    """How a run ended: exit code, what it printed, and the block that was reached."""

    code: int
    output: str
    reached: str


def runs_of(pages: Sequence[Path]) -> list[PageRun]:
    """Every run that the pages mark.

    Raises:
        ValueError: a mark without a name or a path, or a run of another language than sh.
    """
    found: dict[tuple[Path, str], list[Block]] = {}
    for block in [block for page in pages for block in blocks(page) if _kind(block)]:
        kind, *words = block.mark.split()
        is_whole = len(words) == {"run:": 1, "file:": 2, "shows:": 1}[kind]
        if not is_whole or (kind == "run:" and block.language != "sh"):
            raise ValueError(f"{block.place}: <!-- {block.mark} --> marks no run")
        found.setdefault((block.page, words[0]), []).append(block)
    return [PageRun(page, name, tuple(steps)) for (page, name), steps in found.items()]


def is_run(block: Block) -> bool:
    """Whether a test runs the commands of a block."""
    return _kind(block) == "run:"


def play(run: PageRun, folder: Path) -> Ran:
    """Run all blocks in ``folder``; what they started and left running is ended."""
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(folder),
        "COLUMNS": "150",
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
    }
    shell = subprocess.Popen(
        ["bash", "-euo", "pipefail", "-c", _script(run)],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,  # a question that no option answers fails
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = shell.communicate(timeout=_LIMIT_S)
    finally:
        _end_all(shell.pid)
    places = [line for line in output.splitlines() if line.startswith("== ")]
    return Ran(shell.returncode, output, places[-1].removeprefix("== ") if places else "")


def _kind(block: Block) -> str:
    first = block.mark.split(" ")[0]
    return first if first in ("run:", "file:", "shows:") else ""


def _loosely(line: str) -> str:
    """A line without what may move from run to run: numbers, hashes, a called class, blanks."""
    return " ".join(_MOVES.sub("#", line).split())


def _script(run: PageRun) -> str:
    parts = []
    for block in run.steps:
        parts.append(f"echo '== {block.place}'\n")
        if is_run(block):
            parts.append(block.text)
        elif _kind(block) == "file:":
            path = block.mark.split()[2]
            parts.append(f"mkdir -p \"$(dirname '{path}')\"\n")
            parts.append(f"cat > '{path}' <<'{_END}'\n{block.text}{_END}\n")
    return "".join(parts)


def _end_all(group: int) -> None:
    """End what is left of a group: asked first, so that it can end its own children."""
    end = time.monotonic() + _GRACE_S
    try:
        os.killpg(group, signal.SIGTERM)
        while time.monotonic() < end:
            os.killpg(group, 0)
            time.sleep(0.05)
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return
