"""A line of a doctor: what it says of an end, and when all is well."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from shared.machine.line import (
    attention,
    expiry_line,
    is_well,
    lines_as_json,
    look_at_disk,
    not_checked,
    ok,
    problem,
)

DAY_S = 86400.0


@pytest.mark.parametrize(
    ("days", "state", "remedy"),
    [
        (61.0, "ok", ""),
        (60.9, "attention", "within 30 days, renew it"),
        (31.0, "attention", "within 30 days, renew it"),
        (30.9, "attention", "this week, renew it"),
        (8.0, "attention", "this week, renew it"),
        (7.9, "problem", "today, renew it"),
        (0.1, "problem", "today, renew it"),
        (-0.1, "problem", "renew it"),
    ],
)
def test_an_end_is_noted_60_days_before_hurried_30_and_a_problem_7(
    days: float, state: str, remedy: str
) -> None:
    line = expiry_line("authority", 1e9 + days * DAY_S, 1e9, "renew it")
    assert (line.state, line.remedy) == (state, remedy)
    assert ("expired" in line.fact) == (days < 0)


def test_only_a_problem_makes_it_unwell_and_programs_are_told_so() -> None:
    lines = [
        ok("disk", "much"),
        attention("clock", "2 s", "NTP"),
        not_checked("port", "none", "name it"),
    ]
    assert is_well(lines)
    assert lines_as_json(lines)["verdict"] == "ok"
    told = lines_as_json([*lines, problem("keys", "open", "chmod 600")])
    assert told["verdict"] == "problem"
    assert told["lines"][-1] == {  # type: ignore[index]
        "name": "keys",
        "state": "problem",
        "fact": "open",
        "remedy": "chmod 600",
    }


def test_a_disk_is_well_tight_or_full_by_what_its_side_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=5 * 2**30))
    for least, comfortable, state, remedy in (
        (1, 2, "ok", ""),
        (1, 10, "attention", "some"),
        (6, 10, "problem", "all"),
    ):
        found = look_at_disk(
            tmp_path,
            "the hub's",
            least=least * 2**30,
            comfortable=comfortable * 2**30,
            full="all",
            tight="some",
        )
        assert (found.state, found.remedy) == (state, remedy)
        assert "free where the hub's folder lies" in found.fact
