"""The fault table: ``make chaos`` plays every row and writes docs/data/chaos.json and docs/chaos.md.

Rows are played by a few processes side by side, since they are mostly waiting. ``--only WORD``, several
if wanted: the row of that name, or those whose name holds it; others stay as they were seen last.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from queue import Queue
from threading import Thread

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(HERE), str(ROOT / "tests" / "practice")]

from chaos_page import page  # noqa: E402
from chaos_play import Seen, play_rows, tell_as_json  # noqa: E402
from chaos_rows import ROWS, Row  # noqa: E402

from shared.machine.processes import end_on_sigterm  # noqa: E402

PAGE, DATA = ROOT / "docs" / "chaos.md", ROOT / "docs" / "data" / "chaos.json"


def play_apart(rows: Sequence[Row], folder: Path, *, side_by_side: int = 1) -> Iterator[Seen]:
    """What was seen of rows that are played in processes of their own.

    Raises:
        RuntimeError: a process ended without having played its rows.
    """
    shares = [rows[place::side_by_side] for place in range(min(side_by_side, len(rows)))]
    players = [
        subprocess.Popen(
            [
                *(sys.executable, __file__, "--play", str(folder / f"{place}")),
                *(word for row in share for word in ("--row", row.name)),
            ],
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        for place, share in enumerate(shares)
    ]
    came: Queue[Seen | None] = Queue()  # None: a process has ended

    def read(player: subprocess.Popen[bytes]) -> None:
        for line in player.stdout or ():
            came.put(json.loads(line))
        came.put(None)

    for player in players:
        Thread(target=read, args=(player,), daemon=True).start()
    n_left, n_seen = len(players), 0
    while n_left:
        found = came.get()
        if found is None:
            n_left -= 1
        else:
            n_seen += 1
            yield found
    for player in players:
        with player:  # closes what it was read by, and waits for its end
            pass
    if n_seen < len(rows):
        raise RuntimeError(f"{n_seen} of {len(rows)} rows were played; see {folder}")


def main() -> None:
    """Play the rows that are asked for and write the figures and the page."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--only", action="append", default=[], help="a row, or a word of its name")
    parser.add_argument("--side-by-side", type=int, default=2, help="processes that play rows")
    parser.add_argument("--work", type=Path, help="where federations lie; kept where one is given")
    parser.add_argument("--play", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--row", action="append", default=[], help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.play:
        end_on_sigterm()
        play_rows([row for row in ROWS if row.name in asked.row], asked.play, tell=tell_as_json)
        return
    names = {row.name for row in ROWS}
    words = [name for name in names if any(_is_meant(name, word, names) for word in asked.only)]
    chosen = [row for row in ROWS if row.name in words or not asked.only]
    with tempfile.TemporaryDirectory(prefix="chaos-") as name:
        for found in play_apart(chosen, asked.work or Path(name), side_by_side=asked.side_by_side):
            keep(found)
            sys.stdout.write(f"{found['row']}: {'; '.join(found['differences']) or 'as expected'}\n")


def _is_meant(name: str, word: str, names: set[str]) -> bool:
    return name == word if word in names else word in name


def keep(found: Seen) -> None:
    """Keep what was seen of a row in the place of what was seen before, and write the page."""
    held = {each["row"]: each for each in json.loads(DATA.read_text())} if DATA.exists() else {}
    held[found["row"]] = found
    kept = [held[row.name] for row in ROWS if row.name in held]
    DATA.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    PAGE.write_text(page(kept))


if __name__ == "__main__":
    main()
