"""When an intake is refused as a whole, and what is kept of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from practice_intake import HIP

from client.cohort.quarantine import Quarantined
from client.intake.changes import Changes
from client.intake.losses import Losses
from client.intake.refusal import (
    REFUSALS,
    REFUSED_FILE,
    forget_refused,
    keep_refused,
    read_refused,
    refuse_fewer,
    refuse_loss,
    refuse_unread,
)
from shared.errors import IntakeError

SCHEMA = HIP.model_copy(update={"max_lost_fraction": 0.25})
LOST = [
    *(Quarantined("film", "intake.blank-film", str(n)) for n in range(3)),
    *(Quarantined("film", "intake.wrong-view", str(n)) for n in range(9)),
    Quarantined("row", "intake.missing-film", "r"),
]


def losses(n_lost: int, n_kept: int) -> Losses:
    """So many patients lost, one of them by a row that cannot be read; and films of nobody."""
    causes = {str(n): "intake.wrong-view" for n in range(n_lost - 1)}
    return Losses(
        n_kept=n_kept,
        causes=causes | {"r": "intake.not-a-number"},
        nameless_rows={},
        nameless_films={"intake.blank-film": 3, "intake.unreadable-dicom": 4},
    )


def loss(found: Losses, *, n_exams: int = 5) -> str:
    with pytest.raises(IntakeError) as caught:
        refuse_loss("hip", SCHEMA, LOST, found, n_exams=n_exams)
    assert caught.value.code in REFUSALS
    return f"{caught.value.code}: {caught.value.fact}"


def test_more_than_the_schemas_share_of_patients_is_too_much_and_the_share_itself_is_not() -> None:
    refuse_loss("hip", SCHEMA, LOST, losses(5, 15), n_exams=1)
    text = loss(losses(5, 14))
    assert text.startswith("intake.too-much-lost: 26.3% of patients are lost, at most 25.0%")
    # causes by number of patients, then the films that could be anybody's
    assert text.endswith(
        "most by intake.wrong-view (4), intake.not-a-number (1); "
        "films of no known patient: intake.unreadable-dicom (4), intake.blank-film (3)"
    )


def test_an_intake_of_nobody_is_refused_with_what_was_not_used() -> None:
    nobody = Losses(n_kept=0, causes={}, nameless_rows={}, nameless_films={})
    text = loss(nobody, n_exams=0)
    assert text.startswith("intake.empty-cohort")
    assert "intake.wrong-view (9), intake.blank-film (3)" in text
    with pytest.raises(IntakeError, match="there was none to read"):
        refuse_loss("hip", SCHEMA, [], nobody, n_exams=0)


def changes(**counts: int) -> Changes:
    plain = dict.fromkeys(("added", "changed", "unchanged", "fewer_films", "missing", "left_out"), 0)
    return Changes(**plain | counts)


def test_a_version_may_not_lose_exams_or_films_that_nobody_asked_to_be_gone() -> None:
    before = SimpleNamespace(exams=("a", "b"), name="hip", version=3)
    for counts in ({"missing": 1}, {"fewer_films": 1}):
        with pytest.raises(IntakeError) as caught:
            refuse_fewer(before, changes(**counts))
        assert caught.value.code == "intake.would-shrink"
        assert "of the 2 exams of hip v3" in caught.value.fact
        refuse_fewer(None, changes(**counts))
    refuse_fewer(before, changes(left_out=7, added=1, changed=2))


def test_a_refused_quarantine_is_kept_for_its_owner_until_an_intake_comes_through(
    tmp_path: Path,
) -> None:
    assert read_refused(tmp_path) is None
    keep_refused(tmp_path, LOST)
    assert (tmp_path / REFUSED_FILE).stat().st_mode & 0o777 == 0o600
    found = read_refused(tmp_path)
    assert found.quarantined == tuple(LOST)
    assert datetime.now(UTC) - found.refused_utc < timedelta(minutes=5)
    forget_refused(tmp_path)
    assert read_refused(tmp_path) is None
    forget_refused(tmp_path)


@pytest.mark.parametrize("content", ["{", '{"kind": "film"}', "[]"])
def test_a_damaged_one_is_said(tmp_path: Path, content: str) -> None:
    (tmp_path / REFUSED_FILE).write_text(content + "\n")
    with pytest.raises(IntakeError) as caught:
        read_refused(tmp_path)
    assert caught.value.code == "intake.damaged-quarantine"


def values(field: str, code: str, n: int) -> list[Quarantined]:
    return [Quarantined("value", code, f"row-{number}", field) for number in range(n)]


def test_a_field_that_many_rows_lose_is_named_and_stops_the_intake() -> None:
    lost = values("bmi", "intake.unknown-unit", 26) + values("smoking", "intake.unknown-category", 25)
    lost += values("bmd_neck", "intake.missing-label", 90)
    with pytest.raises(IntakeError) as caught:
        refuse_unread(SCHEMA, lost, 100)
    assert caught.value.code == "intake.field-lost"
    assert caught.value.code in REFUSALS
    lines = caught.value.fact.splitlines()[1:]
    assert [line.split(";")[0] for line in lines] == ["  bmi: intake.unknown-unit in 26 of 100 rows"]
    refuse_unread(SCHEMA, lost[26:], 100)


def test_the_columns_that_patients_are_lost_by_are_named() -> None:
    rows = [
        *(Quarantined("row", "intake.unknown-category", f"a{n}", "death") for n in range(3)),
        Quarantined("row", "intake.unknown-category", "b", "sex"),
    ]
    found = Losses(
        n_kept=0,
        causes={row.item: row.code for row in rows},
        nameless_rows={},
        nameless_films={},
    )
    with pytest.raises(IntakeError, match=r"most by intake\.unknown-category of death, sex \(4\)"):
        refuse_loss("hip", SCHEMA, rows, found, n_exams=5)
