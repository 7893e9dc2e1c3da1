"""The breaks on purpose still fit the source, so that ``make mutate`` can be run on any day."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest
from breaks import BREAKS, Break
from mirror import ROOT, TESTS, find_tests


@pytest.mark.parametrize("broken", BREAKS, ids=lambda each: f"{each.file}: {each.means}")
def test_a_break_stands_exactly_once_in_its_file_and_leaves_python(broken: Break) -> None:
    assert "\n" not in broken.old + broken.new
    text = (ROOT / broken.file).read_text()
    changed = broken.apply(text)
    assert ast.dump(ast.parse(changed)) != ast.dump(ast.parse(text))


@pytest.mark.parametrize("broken", BREAKS, ids=lambda each: f"{each.file}: {each.means}")
def test_a_break_has_tests_to_be_tried_with(broken: Break) -> None:
    named = [TESTS / name for name in broken.tests] or find_tests(Path(broken.file))
    assert named
    assert all(path.exists() for path in named)


def test_a_break_that_fits_no_more_is_told() -> None:
    stale = Break("shared/strict.py", "no such line", "", "nothing")
    with pytest.raises(ValueError, match="stands 0 times"):
        stale.apply((ROOT / stale.file).read_text())


def test_breaks_are_many_different_and_spread_over_the_rooms() -> None:
    assert len(BREAKS) >= 60
    assert len({(each.file, each.new) for each in BREAKS}) == len(BREAKS)
    rooms = Counter(each.room for each in BREAKS)
    assert max(rooms.values()) <= len(BREAKS) / 6
    sides = Counter(each.file.partition("/")[0] for each in BREAKS)
    assert min(sides[side] for side in ("client", "server", "shared")) >= 15
