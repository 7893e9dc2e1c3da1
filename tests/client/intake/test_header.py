"""Columns, profile and schema before any row: each disagreement is named, all at once."""

from __future__ import annotations

from typing import Any

import pytest
from practice_intake import HIP

from client.intake.header import require_columns, require_profile
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
