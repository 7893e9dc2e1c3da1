"""Four hospitals' tables of one's own, from CSV to a report by one command: how many seconds?

``make own-tables``. The tables are those of ``example``; the command is typed as the README types it,
once without privacy and once under ε = 1. Writes docs/data/own-tables.json and the block in
docs/how-to/own-disease.md. Before there was ``simulate``, the same took 25 commands and 10 minutes.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
DATA, PAGE = ROOT / "docs" / "data" / "own-tables.json", ROOT / "docs" / "how-to" / "own-disease.md"
BEGINS, ENDS = "<!-- written by make own-tables -->", "<!-- end of what is written -->"
ARMS = {"off": "privacy=off", "1": "privacy.epsilon=1"}
SITES = ("aster", "birch", "cedar")


def measure() -> dict[str, Any]:
    """Seconds of each run and the patients of its tables.

    Raises:
        CalledProcessError: a command failed.
    """
    command = shutil.which("osteofed-coordinator", path=str(Path(sys.executable).parent))
    if command is None:
        raise SystemExit("osteofed-coordinator is not installed beside this Python")
    with tempfile.TemporaryDirectory() as folder:
        _type(folder, command, "example", "tables")
        tables = sorted(Path(folder, "tables").glob("*.csv"))
        rows = sum(len(path.read_text().splitlines()) - 1 for path in tables)
        named = [f"{site}=tables/{site}.csv" for site in SITES]
        runs = {}
        for epsilon, setting in ARMS.items():
            began = time.monotonic()
            _type(
                folder, command, "simulate", *named, "--external", "dune=tables/dune.csv",
                "--cohort", "hip_table", setting, "--folder", f"run-{epsilon}",
            )  # fmt: skip
            runs[epsilon] = round(time.monotonic() - began, 1)
            if not list(Path(folder, f"run-{epsilon}").rglob("report.html")):
                raise SystemExit(f"no report came of {setting}")
    return {"commands": 1, "hand_edits": 0, "tables": len(tables), "rows": rows, "seconds": runs}


def _type(folder: str, *words: str) -> None:
    subprocess.run(words, cwd=folder, check=True, stdout=subprocess.DEVNULL)


def block(measured: Mapping[str, Any]) -> str:
    """What the page says of it."""
    seconds = measured["seconds"]
    return (
        f"{measured['tables']} tables of {measured['rows']:,} rows together, from CSV to a report with "
        f"the arms alone, pooled and federated: {measured['commands']} command, "
        f"{measured['hand_edits']} edits by hand, {seconds['off']:g} s without privacy and "
        f"{seconds['1']:g} s under ε = 1, on the machine that wrote this."
    )


def quoted(page: str, measured: Mapping[str, Any]) -> str:
    """The page with the block between its marks.

    Raises:
        ValueError: it has not both marks once.
    """
    if page.count(BEGINS) != 1 or page.count(ENDS) != 1:
        raise ValueError(f"the page must have {BEGINS} and {ENDS} once each")
    before, rest = page.split(BEGINS)
    return f"{before}{BEGINS}\n{block(measured)}\n{ENDS}{rest.split(ENDS)[1]}"


if __name__ == "__main__":
    found = measure()
    DATA.write_text(json.dumps(found, indent=1) + "\n")
    PAGE.write_text(quoted(PAGE.read_text(), found))
    sys.stdout.write(block(found) + "\n")
