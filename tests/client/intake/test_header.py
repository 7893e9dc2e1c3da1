"""Columns, profile and schema before any row: each disagreement is named, all at once."""

from __future__ import annotations

from typing import Any

import pytest
from practice_intake import HIP

from client.intake.clinical import RawRow
from client.intake.header import require_columns, require_dates, require_profile
from client.site.profile import SiteProfile
from shared.errors import IntakeError


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"columns": {"aeg": "Alter"}}, "columns.aeg: is none of the schema's; did you mean age?"),
        ({"units": {"heigt": "m"}}, "units.heigt: is none of the schema's; did you mean height?"),
        ({"units": {"height": "furlong"}}, "units.height: must be one of ['cm', 'in', 'm']"),
        ({"not_collected": ("alcohl",)}, "not_collected.alcohl: is none of the schema's"),
    ],
)
def test_a_profile_that_misspells_the_schema_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(IntakeError) as caught:
        require_profile(HIP, SiteProfile(**changes))
    assert caught.value.code == "intake.profile-and-schema"
    assert said in caught.value.fact


def test_names_of_another_schema_may_stand_in_a_profile() -> None:
    other = {"vertebral_height_loss": "VHL", "weight_unit": "kg_or_lb", "bmd_neck_vendor": "scanner"}
    require_profile(HIP, SiteProfile(columns=other))


def test_a_column_that_is_not_there_or_stands_twice_is_refused() -> None:
    named = [HIP.patient_column, HIP.date_column, *(field.name for field in HIP.fields)]
    header = [str(name) for name in (*named, HIP.label.column)]
    require_columns(header, HIP, SiteProfile())
    with pytest.raises(IntakeError, match="the table lacks"):
        require_columns(header[1:], HIP, SiteProfile())
    with pytest.raises(IntakeError, match="have the name of another"):
        require_columns([*header, "age"], HIP, SiteProfile())


def test_a_missing_column_is_told_in_plain_words() -> None:
    header = ["patient_id", "exam_date", "Alter"]
    of_age = HIP.model_copy(update={"fields": HIP.fields[:1]})
    with pytest.raises(IntakeError) as caught:
        require_columns(header, of_age, SiteProfile(has_labels=False))
    assert caught.value.fact == (
        "the table lacks age; expected patient_id, exam_date, age; found patient_id, exam_date, Alter"
    )
    assert "null" not in caught.value.hint
    with pytest.raises(IntakeError, match="must not list age: the schema requires them"):
        require_columns(header, of_age, SiteProfile(not_collected=("age",)))


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (["age", "number"], "says patient_column: null and date_column: null in its file"),
        (["age", "number", "exam_date"], "says patient_column: null in its file"),
        (["age", "PID"], "says date_column: null in its file"),
    ],
)
def test_rows_without_patient_or_date_are_told_what_the_cohorts_file_then_says(
    header: list[str], said: str
) -> None:
    mapped = SiteProfile(columns={"patient_id": "PID"}, has_labels=False)
    of_age = HIP.model_copy(update={"fields": HIP.fields[:1]})
    with pytest.raises(IntakeError) as caught:
        require_columns(header, of_age, mapped)
    assert caught.value.hint.endswith(said)


def test_a_missing_column_is_answered_by_the_tables_nearest_that_is_not_used() -> None:
    named = [HIP.patient_column, HIP.date_column, *(field.name for field in HIP.fields)]
    header = [str(name) for name in (*named, HIP.label.column)]
    by_table = HIP.model_copy(update={"split": HIP.split.model_copy(update={"column": "splt"})})
    with pytest.raises(IntakeError) as caught:
        require_columns([*header, "Split"], by_table, SiteProfile())
    assert caught.value.fact.endswith("\n  splt: is not there; did you mean Split?")


def test_a_table_without_a_header_line_shows_none_of_its_values_as_a_guess() -> None:
    with pytest.raises(IntakeError) as caught:
        require_columns(["exam_dates", "ages", "Ada Lovelace"], HIP, SiteProfile())
    assert "did you mean" not in caught.value.fact
    assert "Lovelace" not in caught.value.fact


def rows_of(*dates: str) -> list[RawRow]:
    return [RawRow(number, {"exam_date": text}) for number, text in enumerate(dates, start=1)]


@pytest.mark.parametrize(
    ("dates", "meant"),
    [
        (("24.12.2020", "01.02.2021", "NA"), "; %d.%m.%Y reads all of them"),
        (("01/02/2020", "03/04/2021"), "; %d/%m/%Y or %m/%d/%Y reads all of them"),
        (("31/12/2020", "03/04/2021"), "; %d/%m/%Y reads all of them"),
        (("Tuesday", "01.02.2021"), ""),
    ],
)
def test_dates_that_none_can_be_read_are_refused_with_the_format_that_fits(
    dates: tuple[str, ...], meant: str
) -> None:
    with pytest.raises(IntakeError) as caught:
        require_dates(rows_of(*dates), HIP, SiteProfile())
    assert caught.value.code == "intake.unreadable-dates"
    assert caught.value.fact == f"no date in column exam_date is written as %Y-%m-%d{meant}"


def test_some_dates_that_cannot_be_read_and_tables_without_dates_go_on() -> None:
    require_dates(rows_of("2020-06-10", "10.06.2020"), HIP, SiteProfile())
    require_dates(rows_of("10.06.2020"), HIP, SiteProfile(date_format="%d.%m.%Y"))
    require_dates(rows_of("", "NA"), HIP, SiteProfile())
    require_dates(rows_of("Tuesday"), HIP.model_copy(update={"date_column": None}), SiteProfile())


def test_a_table_of_one_column_is_told_the_separators_that_its_header_holds() -> None:
    with pytest.raises(IntakeError) as caught:
        require_columns(["patient_id;exam_date;age"], HIP, SiteProfile())
    assert caught.value.code == "intake.one-column"
    assert "the header line holds [';']" in caught.value.hint
    with pytest.raises(IntakeError, match="the table lacks"):
        require_columns(["patient_id"], HIP, SiteProfile())
