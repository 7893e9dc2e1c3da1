"""Markdown as a forge shows it: tables, cells, the anchors of headings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence


def cell(text: object) -> str:
    """Text in one line of a table; RST's double backticks become single ones."""
    return re.sub(r"\s+", " ", str(text)).replace("``", "`").replace("|", "\\|").strip()


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Lines of a table, with an empty line before and after it."""
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return ["", *lines, *("| " + " | ".join(map(cell, row)) + " |" for row in rows), ""]


def code(text: object) -> str:
    """A word as it is typed."""
    return f"`{text}`"


def fenced(text: str, language: str) -> list[str]:
    """Lines of a block that is shown as it is."""
    return ["", f"```{language}", *text.strip("\n").splitlines(), "```", ""]


def slug(heading: str) -> str:
    """The anchor that a forge makes of a heading, before it tells repeated ones apart by a number."""
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", plain.replace("`", "")).replace(" ", "-")


def page(title: str, introduction: str, *parts: Iterable[str]) -> str:
    """A whole page: heading, who wrote it, what it is, and its parts."""
    lines = [f"# {title}", "", "<!-- Written by `make docs` from the code; do not edit. -->", ""]
    lines += [introduction, "", *(line for part in parts for line in part)]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip() + "\n"
