"""Plays one row in a process of its own, and writes what was seen as JSON.

``python chaos_play.py ROW FOLDER OUT``: the federation lies in FOLDER, which is removed where all is as
expected.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
import traceback
from collections.abc import Mapping
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(HERE), str(ROOT / "tests" / "practice")]

from chaos_federation import Federation  # noqa: E402
from chaos_judge import breaches  # noqa: E402
from chaos_processes import adopt_orphans, end_all  # noqa: E402
from chaos_rows import ROWS, Row  # noqa: E402

from server.run.events import PROGRESS  # noqa: E402
from server.run.folder import open_run  # noqa: E402


def play(row: Row, folder: Path) -> dict[str, object]:
    """What was seen of a row; every process that it started has ended after."""
    since, stopped = time.monotonic(), ""
    it = Federation(folder, settings=row.settings)
    try:
        for step in row.steps:
            step(it)
    except Exception as error:  # noqa: BLE001 - told on the page: such a row shows nothing
        stopped = f"{type(error).__name__}: {error}"
        (folder / "told" / "row.txt").write_text(traceback.format_exc())
    finally:
        end_all()
    return seen(it) | {"stopped": stopped, "seconds": round(time.monotonic() - since)}


def seen(it: Federation) -> dict[str, object]:
    """What is in the files of both sides once everything has ended."""
    store = open_run(it.store.folder)
    last = store.training.last_committed().round
    missing: dict[str, list[list[object]]] = {}
    for number in range(1, last + 1):
        for site, code in store.training.committed(number).missing.items():
            missing.setdefault(site, []).append([number, code])
    rows = {site: it.rows(site) for site in it.sites}
    used = {
        part.ledger_head
        for number in range(1, last + 1)
        for part in store.training.committed(number).contributions
    }
    return {
        "ends": [vars(each) for each in it.ended],
        "rounds": last,
        "missing": missing,
        "charges": {site: _count(rows[site], "charge") for site in rows},
        "repeats": {site: _count(rows[site], "attempt") for site in rows},
        "unused": {
            site: n
            for site in rows
            if (n := _count(rows[site], "charge", stage="train") - sum(r.sha256 in used for r in rows[site]))
        },
        "events": sorted({each.code for each in store.events() if each.code not in PROGRESS}),
        "breaches": breaches(it),
    }


def _count(rows: list[object], kind: str, **fields: object) -> int:
    return sum(
        row.kind == kind and all(getattr(row, name) == value for name, value in fields.items())
        for row in rows
    )


def differences(row: Row, found: Mapping[str, object]) -> list[str]:
    """How what was seen is not what was expected; nothing where it is."""
    ended = tuple(each["code"] for each in found["ends"])
    missing = {site: tuple(number for number, _ in each) for site, each in found["missing"].items()}
    lines = [f"the row was not played to its end: {found['stopped']}"] if found["stopped"] else []
    if ended != row.ends:
        lines.append(f"commands ended {', '.join(ended)}, not {', '.join(row.ends)}")
    if missing != row.missing:
        lines.append(f"missing updates {missing or 'none'}, not {dict(row.missing) or 'none'}")
    if found["unused"] != row.unused:
        lines.append(f"charges without a part in a round {found['unused']}, not {dict(row.unused)}")
    if absent := sorted(set(row.events) - set(found["events"])):
        lines.append(f"events without {', '.join(absent)}")
    return lines + [f"{rule}: {each}" for rule, all_ in found["breaches"].items() for each in all_]


if __name__ == "__main__":
    [chosen] = [row for row in ROWS if row.name == sys.argv[1]]
    adopt_orphans()
    result = play(chosen, Path(sys.argv[2]))
    result["differences"] = differences(chosen, result)
    Path(sys.argv[3]).write_text(json.dumps(result, indent=1, ensure_ascii=False))
    if not result["differences"]:
        shutil.rmtree(sys.argv[2], ignore_errors=True)
