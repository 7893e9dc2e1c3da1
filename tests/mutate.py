"""Breaks the source on purpose, one line at a time, and says which breaks no test notices.

``python -m tests.mutate [--sample N --seed S] [--newest N] [--only WORD] [--jobs J]`` copies the tree
into a temporary folder, applies each break of ``tests/house/breaks.py`` there and runs the tests that
hold the file to account: those of the break, else the mirrored one, else every test that imports it. A
break is caught when a test fails; one that hangs, or whose tests cannot be collected, is counted apart.
Before that every test that may be asked must pass unbroken, or a red one would catch anything. Exit
code 1 if less than the asked share was caught.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Queue

from tests.house.breaks import BREAKS, Break
from tests.house.mirror import TESTS, find_tests
from tests.house.tree import copy_tree

ASKED_SHARE = 0.9
HANGS = 124
# By pytest's exit code. What cannot be collected or hangs is no test that looked, and is counted apart.
_VERDICTS = {1: "caught", 2: "NO IMPORT", HANGS: "HANGS"}
TIMEOUT_S = 600
# Whole federations and real services take minutes: they are asked only where nothing else is there.
_SLOW = ("federation", "services", "intake")


@dataclass(frozen=True)
class Outcome:
    """What became of a break (``_VERDICTS``, or ``SURVIVED``), by which test, after how long."""

    broken: Break
    verdict: str
    by: str
    seconds: float


def main() -> int:
    """Run the breaks that were asked for; 0 if enough of them were caught."""
    options = _read_options()
    newest = BREAKS[-options.newest :]  # -0: all
    chosen = [each for each in newest if options.only in f"{each.file} {each.means}"]
    if options.sample:
        chosen = random.Random(options.seed).sample(chosen, min(options.sample, len(chosen)))
    if not chosen:
        _say(f"no break of {len(newest)} has {options.only!r} in its file or meaning")
        return 2
    with tempfile.TemporaryDirectory() as folder:
        copies: Queue[Path] = Queue()
        for number in range(options.jobs):
            copies.put(copy_tree(Path(folder) / str(number)))
        if not options.no_baseline and not _passes_unbroken(copies, chosen):
            return 2

        def work(broken: Break) -> Outcome:
            copy = copies.get()
            try:
                return _try(broken, copy, goes_on=not options.mirror_only)
            finally:
                copies.put(copy)

        with ThreadPoolExecutor(options.jobs) as pool:
            outcomes = []
            for outcome in pool.map(work, chosen):
                outcomes.append(outcome)
                _say(
                    f"{outcome.verdict:9} {outcome.seconds:5.0f} s  {outcome.broken.file}: "
                    f"{outcome.broken.means}  [{outcome.by}]"
                )
    return _report(outcomes)


def _read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutate", description=__doc__)
    parser.add_argument("--sample", type=int, default=0, help="so many breaks, drawn by --seed; 0: all")
    parser.add_argument("--seed", type=int, default=1, help="of the draw")
    parser.add_argument("--newest", type=int, default=0, help="the last so many of the list; 0: all")
    parser.add_argument("--only", default="", help="breaks whose file or meaning holds this word")
    parser.add_argument("--jobs", type=int, default=1, help="breaks tried at once")
    parser.add_argument("--mirror-only", action="store_true", help="ask the mirrored tests alone")
    parser.add_argument("--no-baseline", action="store_true", help="trust that the tests pass unbroken")
    return parser.parse_args()


def _passes_unbroken(copies: Queue[Path], chosen: Sequence[Break]) -> bool:
    copy = copies.get()
    asked = sorted({test for each in chosen for test in _ordered(each)})
    code, last = _run_tests(copy, asked, timeout_s=TIMEOUT_S * len(asked))
    copies.put(copy)
    if code:
        _say(f"unbroken, these tests must pass first ({last})")
    return code == 0


def _ordered(broken: Break) -> list[str]:
    """Tests to ask, first the most likely one; slow ones only where there is no other."""
    if broken.tests:
        return list(broken.tests)
    found = [path.relative_to(TESTS).as_posix() for path in find_tests(Path(broken.file))]
    quick = [name for name in found[1:] if name.partition("/")[0] not in _SLOW]
    return [*found[:1], *quick]


def _try(broken: Break, copy: Path, *, goes_on: bool) -> Outcome:
    began = time.monotonic()
    path = copy / broken.file
    whole = path.read_text()
    path.write_text(broken.apply(whole))
    try:
        for test in _ordered(broken)[: None if goes_on else 1]:
            code, last = _run_tests(copy, [test], timeout_s=TIMEOUT_S)
            if code:
                verdict = _VERDICTS[code]
                return Outcome(broken, verdict, f"{test}: {last}", time.monotonic() - began)
    finally:
        path.write_text(whole)
    return Outcome(broken, "SURVIVED", "", time.monotonic() - began)


def _run_tests(copy: Path, tests: Sequence[str], *, timeout_s: float) -> tuple[int, str]:
    """Exit code of pytest, and the first test that failed; a run that hangs has code 124."""
    environment = os.environ | {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-n", "0", "-p", "no:cacheprovider"]
    running = subprocess.Popen(
        [*command, *(f"tests/{test}" for test in tests)],
        cwd=copy,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # a group of its own, so that nothing of it outlives it
    )
    try:
        said, _ = running.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        return HANGS, "hangs"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
        running.wait()
    if running.returncode not in (0, *_VERDICTS):
        raise RuntimeError(f"pytest could not run {tests}: {said[-1000:]}")
    failed = [line for line in said.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return running.returncode, failed[0].partition("::")[2][:70] if failed else ""


def _report(outcomes: Sequence[Outcome]) -> int:
    rooms = Counter(each.broken.room for each in outcomes)
    caught = Counter(each.broken.room for each in outcomes if each.verdict == "caught")
    for room in sorted(rooms):
        _say(f"  {room:28} {caught[room]} of {rooms[room]}")
    n, total = sum(caught.values()), len(outcomes)
    _say(f"{n} of {total} breaks are caught ({n / max(total, 1):.0%}; asked {ASKED_SHARE:.0%})")
    for each in outcomes:
        if each.verdict != "caught":
            _say(f"  not noticed: {each.broken.file}: {each.broken.means}")
    return 0 if n >= ASKED_SHARE * total else 1


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
