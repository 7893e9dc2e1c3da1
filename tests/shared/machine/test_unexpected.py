"""What is told of an exception that nobody raised on purpose: where, and never its text."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.errors import PlanError
from shared.machine import files
from shared.machine.unexpected import unexpected


def caught(work: Callable[[], object]) -> BaseException:
    with pytest.raises((ValueError, TypeError)) as found:
        work()
    return found.value


def test_an_error_of_our_own_stays_what_it_is() -> None:
    error = PlanError("unsigned", "a fact")
    assert unexpected(error) is error


def test_a_fault_inside_a_library_is_told_by_our_own_line() -> None:
    found = unexpected(caught(lambda: json.loads("Mrs Canary, born 1950")))
    assert found.code == "osteofed.internal"
    assert found.fact.startswith("JSONDecodeError in test_unexpected.py, line ")
    assert "Canary" not in found.fact


def test_a_fault_in_another_room_is_told_by_the_line_there(tmp_path: Path) -> None:
    found = unexpected(caught(lambda: files.write_atomic(tmp_path / "file", 3)))  # type: ignore[arg-type]
    assert " in files.py, line " in found.fact


def test_a_full_disk_and_a_full_quota_are_said_as_such() -> None:
    for number in (errno.ENOSPC, errno.EDQUOT):
        assert unexpected(OSError(number, "x")).code == "osteofed.disk-full"
