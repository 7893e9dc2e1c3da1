"""Every row says what was not as expected; `make chaos` plays them, over real processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from chaos_actions import start_otherwise
from chaos_federation import RowError
from chaos_page import page
from chaos_play import differences
from chaos_rows import ROWS, Row
from chaos_table import play_apart


def ended(*codes: str) -> list[dict[str, Any]]:
    return [
        {"command": "launch", "code": code, "fact": "", "hint": "", "seconds": 1.0} for code in codes
    ]


def found(**changes: object) -> dict[str, Any]:
    """What is seen where nothing failed."""
    whole = {"ends": ended("finished"), "stopped": "", "missing": {}, "unused": {}, "events": []}
    return whole | {"breaches": {"rounds": []}} | changes


QUICK = "supernode-during"
ROW = Row(name="r", fault="f", expected="e", steps=())


def test_a_row_that_is_as_expected_has_no_difference() -> None:
    assert differences(ROW, found()) == []


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"ends": ended("run.quorum-missed")}, "commands ended run.quorum-missed, not finished"),
        ({"ends": ended("finished", "stopped", "finished")}, "commands ended finished, stopped"),
        ({"stopped": "RowError: no"}, "the row was not played to its end: RowError: no"),
        ({"missing": {"elm": {"2": "x"}}}, "missing updates {'elm': (2,)}, not none"),
        ({"unused": {"elm": 1}}, "charges in no round {'elm': 1}, not none"),
        ({"breaches": {"rounds": ["round 2 is gone"]}}, "rounds: round 2 is gone"),
    ],
)
def test_what_is_not_as_expected_is_said(changes: dict[str, object], told: str) -> None:
    [difference] = differences(ROW, found(**changes))
    assert difference.startswith(told)


def test_an_event_that_a_row_expects_has_to_come() -> None:
    row = Row(name="r", fault="f", expected="e", steps=(), events=("run.disk-full",))
    assert differences(row, found()) == ["events without run.disk-full"]
    assert differences(row, found(events=["run.disk-full", "run.site-offline"])) == []


def test_commands_that_end_alike_one_after_another_count_as_one() -> None:
    row = Row(name="r", fault="f", expected="e", steps=(), ends=("stopped", "finished"))
    assert differences(row, found(ends=ended("stopped", "stopped", "finished"))) == []


def test_every_row_has_a_name_of_its_own() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS)


def test_a_page_of_no_row_says_which_are_not_played() -> None:
    text = page([])
    assert all(row.name in text.partition("**Not played yet:** ")[2] for row in ROWS)


def test_a_row_that_needs_a_library_is_not_played_without_it(tmp_path: Path) -> None:
    step = start_otherwise("fir", env={"LD_PRELOAD": str(tmp_path / "lib.so")})
    with pytest.raises(RowError, match=r"lib\.so is not there"):
        step(cast(Any, None))


@pytest.mark.deployed
@pytest.mark.slow
def test_a_row_is_played_over_real_processes_and_as_it_is_expected(tmp_path: Path) -> None:
    [row] = [row for row in ROWS if row.name == QUICK]
    [seen] = play_apart([row], tmp_path)
    assert seen["differences"] == []
    assert seen["repeats"]["elm"] == 1, "the fault came between charge and answer"
