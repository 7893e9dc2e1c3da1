"""The table of reasons: every code has its words, and only whole lost inputs are losses."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import client
from client.cohort.quarantine import (
    CODES,
    RETIRED,
    CodeCount,
    Quarantined,
    count_codes,
    reason_of,
)

CLIENT = Path(client.__file__ or "").parent
SHARED = CLIENT.parent / "shared"


def test_counts_are_by_kind_and_code() -> None:
    entries = [
        Quarantined("row", "intake.unknown-unit", "a", "weight"),
        Quarantined("film", "intake.blank-film", "b"),
        Quarantined("row", "intake.unknown-unit", "c", "height"),
        Quarantined("value", "intake.unknown-unit", "c", "height"),
    ]
    assert count_codes(entries) == (
        CodeCount("film", "intake.blank-film", 1),
        CodeCount("row", "intake.unknown-unit", 2),
        CodeCount("value", "intake.unknown-unit", 1),
    )
    assert count_codes([]) == ()


@pytest.mark.parametrize(
    ("kind", "code", "is_loss"),
    [
        ("film", "intake.unreadable-dicom", True),
        ("row", "intake.missing-film", True),
        ("film", "intake.wrong-view", False),
        ("row", "intake.under-age", False),
        ("row", "intake.duplicate-exam", False),
        # the row is kept, only one of its values is not
        ("value", "intake.out-of-range", False),
        ("link", "intake.several-rows", False),
    ],
)
def test_a_loss_is_a_whole_input_that_should_have_been_usable(
    kind: str, code: str, is_loss: bool
) -> None:
    assert CodeCount(kind, code, 1).is_loss is is_loss


def test_who_withdrew_or_may_not_be_used_is_no_loss() -> None:
    for code in ("withdrawn", "before-lock", "seen-in-training", "duplicate-film", "not-dicom"):
        assert not CODES[f"intake.{code}"].is_loss, code


def test_a_film_that_is_no_loss_by_itself_is_one_where_it_costs_a_patient() -> None:
    other_view = Quarantined("film", "intake.wrong-view", "a")
    assert not other_view.is_loss
    assert Quarantined("film", "intake.wrong-view", "a", costs_patient=True).is_loss


def test_a_rule_is_no_loss_and_speaks_of_a_patient() -> None:
    rules = {code for code, reason in CODES.items() if reason.is_rule}
    assert rules == {
        f"intake.{name}"
        for name in ("before-lock", "after-lock", "seen-in-training", "withdrawn", "under-age",
                     "duplicate-exam")
    }  # fmt: skip
    assert not any(CODES[code].is_loss for code in rules)


def test_a_code_of_an_earlier_release_still_has_its_meaning() -> None:
    assert not set(RETIRED) & set(CODES)
    for code, reason in RETIRED.items():
        assert reason_of(code) is reason
        assert Quarantined("film", code, "a").is_loss
    assert reason_of("intake.blank-film") is CODES["intake.blank-film"]


def test_every_code_says_what_it_means_and_what_to_do() -> None:
    for code, reason in CODES.items():
        assert re.fullmatch(r"intake\.[a-z-]+", code)
        assert len(reason.meaning) > 10
        assert reason.remedy


def test_every_code_of_the_table_is_given_somewhere() -> None:
    source = "\n".join(
        path.read_text()
        for path in (*CLIENT.rglob("*.py"), SHARED / "exam" / "pixels.py")
        if path.name != "quarantine.py"
    )
    for code in CODES:
        reason = code.removeprefix("intake.")
        assert code in source or f'"{reason}"' in source, code
