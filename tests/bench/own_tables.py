"""Four hospitals' tables of one's own, from CSV to a report by one command: how many seconds?

``make own-tables``. The tables are those of ``example``; the command is the README's with an external
hospital, once without privacy and once under ε = 1. A comparison that lacks an arm is refused. Writes
docs/data/own-tables.json and the block in docs/how-to/own-disease.md. Before there was ``simulate``,
the same took 25 commands and 10 minutes.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from shared.signing.code_hash import installed_code_hash

ROOT = Path(__file__).resolve().parents[2]
DATA, PAGE = ROOT / "docs" / "data" / "own-tables.json", ROOT / "docs" / "how-to" / "own-disease.md"
BEGINS, ENDS = "<!-- written by make own-tables -->", "<!-- end of what is written -->"
ARMS = {"off": "privacy=off", "1": "privacy.epsilon=1"}
SITES = ("aster", "birch", "cedar")


def measure() -> dict[str, Any]:
    """The command, seconds of each run, rows of its tables, and when and with which code.

    Raises:
        CalledProcessError: a command failed.
        SystemExit: it made no report, or not all arms.
    """
    command = shutil.which("osteofed-coordinator", path=str(Path(sys.executable).parent))
    if command is None:
        raise SystemExit("osteofed-coordinator is not installed beside this Python")
    with tempfile.TemporaryDirectory() as folder:
        _type(folder, command, "example", "tables")
        tables = sorted(Path(folder, "tables").glob("*.csv"))
        rows = sum(len(path.read_text().splitlines()) - 1 for path in tables)
        named = [f"{site}=tables/{site}.csv" for site in SITES]
        simulate = ("simulate", *named, "--external", "dune=tables/dune.csv", "--cohort", "hip_table")
        runs = {}
        for epsilon, setting in ARMS.items():
            began = time.monotonic()
            _type(folder, command, *simulate, setting, "--folder", f"run-{epsilon}")
            runs[epsilon] = round(time.monotonic() - began, 1)
            _require_arms(Path(folder, f"run-{epsilon}"))
    return {
        "command": " ".join(("osteofed-coordinator", *simulate)),
        "tables": len(tables),
        "rows": rows,
        "seconds": runs,
        "measured": datetime.now(UTC).date().isoformat(),
        "code_sha256": installed_code_hash(),
    }


def _require_arms(folder: Path) -> None:
    """Refuse a run that made no report, or whose comparison lacks an arm."""
    if not list(folder.rglob("report.html")):
        raise SystemExit(f"no report came into {folder.name}")
    divisions = json.loads((folder / "comparison.json").read_text())["divisions"]
    arms = {row["arm"] for each in divisions for row in each["figures"]}
    missing = {"pooled", "federated", *(f"{site} alone" for site in SITES)} - arms
    if missing:
        raise SystemExit(f"the comparison of {folder.name} lacks {', '.join(sorted(missing))}")


def _type(folder: str, *words: str) -> None:
    subprocess.run(words, cwd=folder, check=True, stdout=subprocess.DEVNULL)


def block(measured: Mapping[str, Any]) -> str:
    """What the page says of it."""
    seconds = measured["seconds"]
    return (
        f"`{measured['command']}`, on the tables of `example`, with `privacy=off` and with "
        f"`privacy.epsilon=1`: from {measured['tables']} tables of {measured['rows']:,} rows together "
        f"to a report with the arms alone, pooled and federated in {seconds['off']:g} s without "
        f"privacy and {seconds['1']:g} s under ε = 1, by that one command and no edit, on the machine "
        f"that wrote this, {measured['measured']}."
    )


def quoted(page: str, measured: Mapping[str, Any]) -> str:
    """The page with the block between its marks.

    Raises:
        ValueError: it has not the first mark once, and the other after it.
    """
    before, found, rest = page.partition(BEGINS)
    if not found or BEGINS in rest or ENDS not in rest:
        raise ValueError(f"the page must have {BEGINS} once, and {ENDS} after it")
    return f"{before}{BEGINS}\n{block(measured)}\n{ENDS}{rest.partition(ENDS)[2]}"


if __name__ == "__main__":
    found = measure()
    DATA.write_text(json.dumps(found, indent=1) + "\n")
    PAGE.write_text(quoted(PAGE.read_text(), found))
    sys.stdout.write(block(found) + "\n")
