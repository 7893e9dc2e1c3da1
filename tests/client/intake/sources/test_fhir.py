"""FHIR Observations as rows: the nearest reading of each field, ages by the calendar, nothing lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from practice_intake import HIP

from client.intake.sources.fhir import fhir_table
from client.site.profile import FhirMapping, SiteProfile
from shared.errors import IntakeError

LOINC = "http://loinc.org"
PROFILE = SiteProfile(
    columns={"patient_id": "NR"},
    fhir=FhirMapping(
        codes={"height": "8302-2", "bmd_neck": "NECK"}, from_patient={"age": "age", "sex": "gender"}
    ),
)


def patient(name: str = "p", **more: object) -> dict[str, Any]:
    return {"resourceType": "Patient", "id": name, "birthDate": "1950-03-02", "gender": "female"} | more


def reading(code: str, day: str, value: float = 1.0, **more: object) -> dict[str, Any]:
    plain = {
        "resourceType": "Observation",
        "status": "final",
        "code": {"coding": [{"system": LOINC, "code": code}]},
        "subject": {"reference": "Patient/p"},
        "effectiveDateTime": day,
        "valueQuantity": {"value": value, "unit": "u"},
    }
    return plain | more


def rows(
    folder: Path, *resources: dict[str, Any], profile: SiteProfile = PROFILE
) -> list[dict[str, str] | None]:
    path = folder / "bulk.ndjson"
    path.write_text("\n".join(json.dumps(each) for each in resources) + "\n")
    return [row.cells for row in fhir_table(path, HIP, profile).rows]


def test_a_label_is_a_row_with_the_reading_nearest_to_it(tmp_path: Path) -> None:
    [row] = rows(
        tmp_path,
        reading("8302-2", "2020-01-01", 160.0),
        reading("8302-2", "2020-01-30", 161.0),
        reading("8302-2", "2020-03-01", 162.0),
        patient(),
        reading("NECK", "2020-02-01T23:00:00Z", 0.6),
    )
    assert (row["NR"], row["exam_date"], row["bmd_neck"]) == ("p", "2020-02-01", "0.6")
    assert (row["height"], row["height_unit"]) == ("161.0", "u")
    assert row["sex"] == "female"


def test_of_two_equally_near_readings_the_earlier_counts(tmp_path: Path) -> None:
    for order in (1, -1):
        near = [reading("8302-2", "2020-02-06", 2.0), reading("8302-2", "2020-02-04", 1.0)][::order]
        [row] = rows(tmp_path, patient(), *near, reading("NECK", "2020-02-05", 0.6))
        assert row["height"] == "1.0"


@pytest.mark.parametrize(("day", "height"), [("2020-05-01", "160.0"), ("2020-05-02", "")])
def test_a_reading_too_far_from_its_label_is_none(tmp_path: Path, day: str, height: str) -> None:
    # 90 days from 1 February 2020 is 1 May
    assert HIP.max_days_between_film_and_row == 90
    found = rows(tmp_path, patient(), reading("8302-2", day, 160.0), reading("NECK", "2020-02-01", 0.6))
    assert found[0]["height"] == height


@pytest.mark.parametrize(
    ("day", "age"),
    [("2020-03-01", "69"), ("2020-03-02", "70"), ("1950-03-01", ""), ("1950-03-02", "0")],
)
def test_an_age_is_completed_years(tmp_path: Path, day: str, age: str) -> None:
    [row] = rows(tmp_path, patient(), reading("NECK", day))
    assert row["age"] == age


def test_without_labels_each_day_of_a_person_is_a_row(tmp_path: Path) -> None:
    unlabelled = PROFILE.model_copy(update={"has_labels": False})
    found = rows(
        tmp_path,
        patient(),
        reading("8302-2", "2020-01-01", 160.0),
        reading("8302-2", "2020-01-01", 170.0),
        reading("8302-2", "2020-02-01", 161.0),
        profile=unlabelled,
    )
    assert sorted(row["exam_date"] for row in found) == ["2020-01-01", "2020-02-01"]
    assert all("bmd_neck" not in row for row in found)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"valueQuantity": None, "valueString": " former "}, "former"),
        ({"valueQuantity": None, "valueBoolean": True}, "yes"),
        ({"valueQuantity": None, "valueBoolean": False}, "no"),
        ({"valueQuantity": None, "valueInteger": 3}, "3"),
        ({"valueQuantity": None, "dataAbsentReason": {}}, ""),
        ({"valueQuantity": None, "valueCodeableConcept": {"coding": [{"display": "ex"}]}}, "ex"),
        ({"status": "amended"}, "1.0"),
    ],
)
def test_values_of_every_kind_become_text(tmp_path: Path, change: dict[str, object], text: str) -> None:
    [row] = rows(tmp_path, patient(), reading("NECK", "2020-02-01") | change)
    assert row["bmd_neck"] == text


@pytest.mark.parametrize(
    "change",
    [
        {"valueQuantity": {"value": "1"}},
        {"valueQuantity": {"value": True}},
        {"valueQuantity": {"value": 1, "comparator": "<"}},
        {"status": "preliminary"},
        {"subject": {}},
        {"effectiveDateTime": "2020"},
        {"valueQuantity": None},
    ],
)
def test_what_cannot_be_understood_is_a_row_of_its_own(
    tmp_path: Path, change: dict[str, object]
) -> None:
    assert rows(tmp_path, patient(), reading("NECK", "2020-02-01") | change) == [None]


@pytest.mark.parametrize("status", ["entered-in-error", "cancelled"])
def test_what_was_retracted_is_nothing(tmp_path: Path, status: str) -> None:
    assert rows(tmp_path, patient(), reading("NECK", "2020-02-01", status=status)) == []


def test_a_number_comes_from_the_named_identifier_and_from_one_only(tmp_path: Path) -> None:
    fhir = PROFILE.fhir.model_copy(update={"identifier_system": "urn:h"})
    profile = PROFILE.model_copy(update={"fhir": fhir})
    own, other = {"system": "urn:h", "value": "7"}, {"system": "urn:x", "value": "8"}
    for identifiers, number in (([own, other], "7"), ([other], ""), ([own, own | {"value": "9"}], "")):
        person = patient(identifier=identifiers)
        [row] = rows(tmp_path, person, reading("NECK", "2020-02-01"), profile=profile)
        assert row["NR"] == number


def test_an_absolute_reference_names_the_same_person(tmp_path: Path) -> None:
    subject = {"reference": "https://ehr.example/fhir/Patient/p"}
    [row] = rows(tmp_path, patient(), reading("NECK", "2020-02-01", subject=subject))
    assert row["NR"] == "p"


def test_a_profile_that_maps_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IntakeError) as caught:
        rows(tmp_path, patient(), profile=SiteProfile())
    assert caught.value.code == "intake.no-fhir-mapping"
