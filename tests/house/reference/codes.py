"""``codes.md``: every error code that the source raises, every quarantine code and every event."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from reference.markdown import code, page, table

from client.cohort.quarantine import CODES
from server.run.events import EVENTS

ROOT = Path(__file__).resolve().parents[3]
_INTRODUCTION = (
    "Only the code leaves a hospital; fact and hint stay in its log. `…` stands for a value. "
    "`osteofed.internal` is any other exception: its text is in the site's `log/refusals.jsonl` "
    "under the correlation id. A coordinator's `events.jsonl` holds codes of errors and events. "
    "(quarantine): an input that was set aside, with what to do about it; `osteofed-site cohort` "
    "counts them. (event): no error, but noted."
)


def codes_page() -> str:
    """The page, one table for each area of codes."""
    listed = code_list()
    areas = groupby(sorted(listed), key=lambda name: name.partition(".")[0])
    parts = []
    for area, names in areas:
        rows = [(code(name), *listed[name]) for name in names]
        parts.append([f"## {area}", *table(("code", "fact", "hint"), rows)])
    return page("Error and event codes", _INTRODUCTION, *parts)


def code_list() -> dict[str, tuple[str, str]]:
    """Fact and hint by code."""
    rows = {name: (f"{reason.meaning} (quarantine)", reason.remedy) for name, reason in CODES.items()}
    rows |= {name: (f"{told.fact} (event)", told.remedy) for name, told in EVENTS.items()}
    areas = _areas()
    for call in _calls():
        if isinstance(call.func, ast.Name) and call.func.id in areas and call.args:
            name = call.args[0]
            if isinstance(name, ast.Constant):
                rows.setdefault(f"{areas[call.func.id]}.{name.value}", (_fact(call), _hint(call)))
    return rows


def _areas() -> dict[str, str]:
    """Each error class and the area its codes begin with."""
    return {
        node.name: str(statement.value.value)
        for node in ast.parse((ROOT / "shared" / "errors.py").read_text()).body
        if isinstance(node, ast.ClassDef)
        for statement in node.body
        if isinstance(statement, ast.Assign | ast.AnnAssign)
        and isinstance(statement.value, ast.Constant)
    }


def _calls() -> Iterator[ast.Call]:
    for package in ("client", "server", "shared"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call):
                    yield node


def _fact(call: ast.Call) -> str:
    return _plain(call.args[1]) if len(call.args) > 1 else ""


def _hint(call: ast.Call) -> str:
    return next((_plain(word.value) for word in call.keywords if word.arg == "hint"), "")


def _plain(node: ast.expr) -> str:
    return re.sub(r"\s+", " ", _text(node)).strip().rstrip(":")


def _text(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(
            str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values
        )
    if isinstance(node, ast.BinOp):
        return _text(node.left) + _text(node.right)
    return "…"
