"""Plays rows one after another over one federation, in a process of its own, and says what was seen.

A federation stands until a row could not be played to its end, or leaves none for the next; then
another is founded. Every process has ended after the last row. ``chaos_judge`` judges.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import Any

from chaos_federation import Federation
from chaos_judge import breaches, readable_rounds
from chaos_processes import adopt_orphans
from chaos_rows import Row

from server.run.events import PROGRESS
from server.run.folder import open_run
from shared.privacy.ledger_format import LedgerRow

Seen = dict[str, Any]


def play_rows(rows: Iterable[Row], folder: Path, *, tell: Callable[[Row, Seen], None]) -> None:
    """Play rows; ``tell`` gets what was seen of each. Where one was not played, its folder is left."""
    adopt_orphans()
    it: Federation | None = None
    try:
        for row in rows:
            if it is None:
                it = Federation(folder / row.name)
            found = _played(row, it)
            tell(row, found)
            if row.is_last or found["stopped"]:
                _close(it, is_removed=not found["stopped"])
                it = None
    finally:
        if it is not None:
            _close(it, is_removed=True)


def _close(it: Federation, *, is_removed: bool) -> None:
    it.close()
    if is_removed:
        shutil.rmtree(it.folder, ignore_errors=True)


def _played(row: Row, it: Federation) -> Seen:
    since, stopped = time.monotonic(), ""
    it.begin(row.name, row.settings)
    try:
        it.stand()
        for step in row.steps:
            step(it)
    except Exception as error:  # noqa: BLE001 - told on the page: such a row shows nothing
        stopped = f"{type(error).__name__}: {error}"
        with suppress(OSError):
            (it.folder / "told" / row.name / "row.txt").write_text(traceback.format_exc())
    found = {
        "row": row.name,
        "stopped": stopped,
        "seconds": round(time.monotonic() - since),
        **seen(it),
    }
    return found | {"differences": differences(row, found)}


def seen(it: Federation) -> Seen:
    """What lies in the files of both sides after the last command."""
    store = open_run(it.store.folder)
    rounds = readable_rounds(store)
    missing: dict[str, dict[str, str]] = {}
    for each in rounds:
        for site, code in each.missing.items():
            missing.setdefault(site, {})[str(each.round)] = code
    heads = {part.ledger_head for each in rounds for part in each.contributions}
    unused = {site: _unused(it, site, heads) for site in it.sites}
    return {
        "ends": [vars(each) for each in it.ended],
        "rounds": len(rounds),
        "missing": missing,
        "charges": {site: len(it.charges(site)) for site in it.sites},
        "repeats": {site: len(_about(it, site, "attempt")) for site in it.sites},
        "unused": {site: n for site, n in unused.items() if n},
        "died": list(it.died),
        "events": sorted({each.code for each in store.events() if each.code not in PROGRESS}),
        "breaches": breaches(it),
    }


def _unused(it: Federation, site: str, heads: set[str]) -> int:
    """Training charges of this run whose answer no committed round holds."""
    used = {row.charge_index for row in _about(it, site, "outcome") if row.sha256 in heads}
    return sum(row.stage == "train" and row.index not in used for row in it.charges(site))


def _about(it: Federation, site: str, kind: str) -> list[LedgerRow]:
    paid = {row.index for row in it.charges(site)}
    return [row for row in it.rows(site) if row.kind == kind and row.charge_index in paid]


def differences(row: Row, found: Mapping[str, Any]) -> list[str]:
    """How what was seen is not what was expected; nothing where it is."""
    ended = tuple(code for code, _ in groupby(each["code"] for each in found["ends"]))
    missing = {site: tuple(map(int, each)) for site, each in found["missing"].items()}
    lines = [f"the row was not played to its end: {found['stopped']}"] if found["stopped"] else []
    if ended != row.ends:
        lines.append(f"commands ended {', '.join(ended)}, not {', '.join(row.ends)}")
    if missing != dict(row.missing):
        lines.append(f"missing updates {missing or 'none'}, not {dict(row.missing) or 'none'}")
    if found["unused"] != dict(row.unused):
        lines.append(
            f"charges in no round {found['unused'] or 'none'}, not {dict(row.unused) or 'none'}"
        )
    if absent := sorted(set(row.events) - set(found["events"])):
        lines.append(f"events without {', '.join(absent)}")
    return lines + [f"{rule}: {each}" for rule, all_ in found["breaches"].items() for each in all_]


def tell_as_json(row: Row, found: Seen) -> None:
    """A line of what was seen, for the process that plays several at once."""
    del row
    sys.stdout.write(json.dumps(found, ensure_ascii=False) + "\n")
    sys.stdout.flush()
