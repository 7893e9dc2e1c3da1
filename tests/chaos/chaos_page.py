"""``docs/chaos.md``: a line for each fault, what was expected of it, and what was seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chaos_federation import PATIENTS, SETTINGS
from chaos_judge import RULES
from chaos_rows import ROWS, Row


def page(kept: Sequence[Mapping[str, Any]]) -> str:
    """The page of what was seen, in the order of the rows."""
    rows = {row.name: row for row in ROWS}
    as_expected = sum(not each["differences"] for each in kept)
    whole = sum(not any(each["breaches"].values()) for each in kept)
    waiting = [row.name for row in ROWS if row.name not in {each["row"] for each in kept}]
    lines = [
        "# Faults",
        "",
        "Written by `make chaos`; nothing seen is typed by hand.",
        "",
        f"{len(PATIENTS)} hospitals and a coordinator as processes on one machine, by the commands "
        "that people type: a SuperLink with TLS, SQLite and node keys, a SuperNode and an executor for "
        "each hospital, tables of patients, training with noise over "
        f"{SETTINGS['federation.rounds']} rounds. `elm` and `hop` are required, `fir` is not; two of "
        f"the three are the quorum. A hospital may be away for {SETTINGS['federation.liveness_s']} s, "
        f"and a round takes at most {SETTINGS['federation.round_deadline_s']} s, where a row says "
        "nothing else. What is expected was written before a row was first played.",
        "",
        "Whatever failed, five things are looked for in ledgers, outboxes, run folder and release "
        f"after the last command: {'; '.join(RULES.values())}.",
        "",
        f"Rows played: {len(kept)} of {len(ROWS)}. As expected: {as_expected}. All five held: {whole}.",
        "",
        *([f"**Not played yet:** {', '.join(waiting)}.", ""] if waiting else []),
        "| fault | expected | seen | missing updates | charges, repeated, in no round | seconds |",
        "|---|---|---|---|---|---|",
        *(_line(rows[each["row"]], each) for each in kept if each["row"] in rows),
    ]
    different = [each for each in kept if each["differences"]]
    if different:
        lines += ["", "## Not as expected", ""]
        lines += [f"- **{each['row']}**: {'; '.join(each['differences'])}." for each in different]
    told = [_told(each) for each in kept if any(end["fact"] for end in each["ends"])]
    if told:
        lines += ["", "## What the operator was told", "", *told]
    return "\n".join(lines) + "\n"


def _line(row: Row, found: Mapping[str, Any]) -> str:
    ends = ", ".join(f"{end['command']}: {_code(end['code'])}" for end in found["ends"])
    verdict = "**not as expected**; " if found["differences"] else ""
    missing = "; ".join(
        f"{site}: round {number} (`{code}`)"
        for site, each in found["missing"].items()
        for number, code in each.items()
    )
    counts = (
        sum(found["charges"].values()),
        sum(found["repeats"].values()),
        sum(found["unused"].values()),
    )
    cells = (
        f"{row.fault} (`{row.name}`)",
        row.expected,
        f"{verdict}{ends or 'no command ended'}",
        missing or "–",
        ", ".join(map(str, counts)),
        found["seconds"],
    )
    return f"| {' | '.join(map(str, cells))} |"


def _code(code: str) -> str:
    return code if code == "finished" else f"`{code}`"


def _told(found: Mapping[str, Any]) -> str:
    sentences = [
        f"  - `{end['command']}`, after {end['seconds']:g} s: {_plain(end['fact'])}."
        + (f" *{_plain(end['hint'])}*" if end["hint"] else "")
        for end in found["ends"]
        if end["fact"]
    ]
    return "\n".join([f"- {found['row']}", *sentences])


def _plain(text: str) -> str:
    """A sentence on one line, its Markdown and this machine's folders apart."""
    return " ".join(text.replace("*", "\\*").split())
