"""What is added is few files: toys are added to a copy of the tree, and what must hold holds there.

Counted are files that somebody writes or edits by hand; what the commands of a how-to page write
(reference pages, public constants, taught weights) may be nothing else.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from additions import ADDITIONS, ASKED, PYTHON, Addition
from mirror import ROOT
from tree import copy_tree

from shared.signing.canonical import hash_file

MOST_FILES = 4


def files_of(tree: Path) -> dict[str, str]:
    """Every file of a copy and its hash."""
    return {
        path.relative_to(tree).as_posix(): hash_file(path)
        for path in tree.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {path for path in {*before, *after} if before.get(path) != after.get(path)}


def run(tree: Path, command: Sequence[str]) -> None:
    """A command in the copy, which is the tree that Python imports."""
    environment = os.environ | {
        "PYTHONPATH": f"{tree}:{tree / 'tests' / 'house'}",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    words = [sys.executable if word == PYTHON else word for word in command]
    done = subprocess.run(words, cwd=tree, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]


def run_commands(tree: Path, addition: Addition) -> None:
    for command in addition.commands:
        run(tree, command)
        if addition.digest and (tree / addition.digest).exists():
            digest = hash_file(tree / addition.digest)
            for path in addition.new:
                text = (tree / path).read_text()
                (tree / path).write_text(text.replace("{sha256}", digest))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("what", ADDITIONS)
def test_something_of_its_kind_is_added_by_few_files_and_holds(what: str, tmp_path: Path) -> None:
    addition = ADDITIONS[what]
    tree = copy_tree(tmp_path / "tree")
    before = files_of(tree)
    addition.apply(tree)
    by_hand = changed(before, files_of(tree))
    assert by_hand == addition.by_hand
    assert len(by_hand) <= MOST_FILES
    run_commands(tree, addition)
    by_command = changed(before, files_of(tree)) - by_hand
    allowed = ("docs/reference/", *addition.written)
    assert {path for path in by_command if not path.startswith(allowed)} == set()
    pytest_here = (PYTHON, "-m", "pytest", "-q", "-x", "-n", "0", "-p", "no:cacheprovider")
    run(tree, [*pytest_here, "-k", ASKED, *addition.tests])
    for code in addition.works:
        run(tree, [PYTHON, "-c", code])


@pytest.mark.parametrize("what", ADDITIONS)
def test_the_page_says_which_files(what: str) -> None:
    addition = ADDITIONS[what]
    page = (ROOT / addition.page).read_text()
    for path in {*addition.edits, *(path.replace("toy", "NAME") for path in addition.new)}:
        assert f"`{path}`" in page, f"{addition.page} does not say {path}"


@pytest.mark.parametrize("what", [what for what in ADDITIONS if ADDITIONS[what].table])
def test_a_test_that_goes_over_all_of_its_kind_is_asked_of_what_is_added(what: str) -> None:
    addition = ADDITIONS[what]
    going = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "tests").rglob("test_*.py")
        if re.search(addition.table, path.read_text())
    ]
    assert len(going) > 1, "nothing goes over all of its kind by these words"
    assert [path for path in going if not path.startswith(addition.tests)] == []


def test_a_line_that_is_gone_stops_an_addition(tmp_path: Path) -> None:
    (tmp_path / "table.py").write_text("a\na\n")
    addition = Addition(new={}, edits={"table.py": (("a\n", "b\n"),)}, page="", tests=())
    with pytest.raises(ValueError, match="must have once"):
        addition.apply(tmp_path)
