"""What failed: a code for outside, the text in the site's own log, and whether a disk was the cause."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from client.gate.failures import code_of, is_of_the_disk, log_failure
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
