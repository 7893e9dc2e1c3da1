"""What failed: a code for outside, the text in the site's own log, and whether a disk was the cause."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from client.gate.failures import code_of, is_of_the_disk, log_failure, log_refusal
from shared.errors import PrivacyError


@pytest.mark.parametrize(
    ("error", "code", "is_public"),
    [
        (PrivacyError("budget-exhausted", "a fact"), "privacy.budget-exhausted", False),
        (OSError(errno.ENOSPC, "full"), "osteofed.disk-full", True),
        (OSError(errno.EDQUOT, "full"), "osteofed.disk-full", True),
        (OSError(errno.EIO, "broken"), "osteofed.internal", True),
        (OSError(errno.EROFS, "read only"), "osteofed.internal", True),
        # a file that is not there may be a patient's
        (FileNotFoundError(errno.ENOENT, "film"), "osteofed.internal", False),
        (ValueError("a patient's value"), "osteofed.internal", False),
        (MemoryError(), "osteofed.internal", False),
    ],
)
def test_only_a_disk_is_a_cause_that_no_patient_has_a_part_in(
    error: Exception, code: str, is_public: bool
) -> None:
    assert (code_of(error), is_of_the_disk(error)) == (code, is_public)


def test_the_text_of_a_failure_is_kept_up_to_a_bound_for_the_owner_alone(tmp_path: Path) -> None:
    for text in ("Erika Mustermann", "x" * 100_000):
        log_failure(tmp_path / "log", ValueError(text), correlation_id="7" * 16, utc="2026-01-01")
    log = tmp_path / "log" / "refusals.jsonl"
    first, second = map(json.loads, log.read_text().splitlines())
    assert "Erika Mustermann" in first["text"]
    assert (first["code"], first["correlation_id"]) == ("osteofed.internal", "7" * 16)
    assert len(second["text"]) == 20_000
    assert log.stat().st_mode & 0o777 == 0o600


def test_of_one_code_the_text_is_logged_once_a_minute_and_the_others_are_counted(
    tmp_path: Path,
) -> None:
    budget, other = PrivacyError("budget-exhausted", "a fact"), ValueError("another")
    minutes = ["2026-01-01T10:00:00+00:00"] * 3 + ["2026-01-01T10:01:59+00:00"]
    first, *again, later = [log_refusal(tmp_path, budget, utc=utc) for utc in minutes]
    assert [first.is_new, *(each.is_new for each in again), later.is_new] == [True, False, False, True]
    assert {each.correlation_id for each in again} == {first.correlation_id} != {later.correlation_id}
    assert log_refusal(tmp_path, other, utc=minutes[0]).is_new
    lines = [json.loads(line) for line in (tmp_path / "refusals.jsonl").read_bytes().splitlines()]
    assert [line.get("further") for line in lines] == [None, 2, None, None]
    assert lines[1]["code"] == "privacy.budget-exhausted"
    assert lines[1]["correlation_id"] == first.correlation_id


def test_a_log_grows_with_minutes_and_not_with_refused_messages(tmp_path: Path) -> None:
    for minute in range(3):
        for _ in range(40):
            log_refusal(tmp_path, ValueError("x" * 1000), utc=f"2026-01-01T10:0{minute}:00+00:00")
    assert len((tmp_path / "refusals.jsonl").read_bytes().splitlines()) == 3 + 2


def test_a_damaged_count_of_refusals_begins_anew(tmp_path: Path) -> None:
    (tmp_path / "refusals-minutes.json").write_text("{")
    assert log_refusal(tmp_path, ValueError("x"), utc="2026-01-01T10:00:00+00:00").is_new
