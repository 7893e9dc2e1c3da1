"""Where things are: every file and every name that the page promises is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "explanation" / "where-things-are.md"
# A row that names a file and, in the next cell, a function, class or constant of it.
ROW = re.compile(r"^\| ([^|]+) \| `([\w./]+)` \| (?:`([\w.]+)`|–) \|$", flags=re.MULTILINE)
ROWS = ROW.findall(PAGE.read_text())


def names_in(path: Path) -> set[str]:
    """Functions, classes, methods as Class.method, and constants of a source file."""
    names: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {
                f"{node.name}.{each.name}" for each in node.body if isinstance(each, ast.FunctionDef)
            }
        targets = node.targets if isinstance(node, ast.Assign) else []
        targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
        names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


def test_the_page_answers_what_strangers_ask() -> None:
    asked = " ".join(question for question, *_ in ROWS)
    assert len(ROWS) > 25
    for words in ("noise drawn", "reply refused", "order of LUTs", "small cells"):
        assert words in asked


@pytest.mark.parametrize(("question", "file", "name"), ROWS, ids=[row[0] for row in ROWS])
def test_what_is_named_is_there(question: str, file: str, name: str) -> None:
    assert (ROOT / file).is_file(), question
    if name:
        assert name in names_in(ROOT / file), f"{question}: {name} is not in {file}"


def test_every_file_of_what_can_be_added_is_there() -> None:
    added = PAGE.read_text().split("## How do I add")[1]
    files = re.findall(r"`((?:shared|client|server|configs)/[\w./]+)`", added)
    assert {"shared/learners/table.py", "shared/measures/table.py", "shared/model/build.py"} <= set(
        files
    )
    assert all((ROOT / file).is_file() for file in files)
