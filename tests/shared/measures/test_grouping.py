"""Every patient is in one group; a header is matched by whole words."""

from __future__ import annotations

import numpy as np
import pytest

from server.federation.compose import compose_settings
from shared.errors import SettingsError
from shared.measures.grouping import Grouping, Vendor, grouping_of, require_vendors
from shared.measures.scored import Scored

FIELDS = compose_settings().cohort.fields
VENDORS = (
    Vendor(name="Siemens", words=("siemens",)),
    Vendor(name="GE", words=("ge", "general electric")),
    Vendor(name="Agfa", words=("agfa",)),
)


def grouping(name: str, *, edges: tuple[float, ...] = (), vendors: tuple[Vendor, ...] = ()) -> Grouping:
    return grouping_of(name, FIELDS, edges=edges, vendors=vendors)


def names_of(groups: Grouping, patients: Scored) -> list[str]:
    return [groups.names[place] for place in groups.places(patients)]


def with_makers(*makers: tuple[str, ...]) -> Scored:
    n = len(makers)
    return Scored(np.zeros((n, 1)), np.zeros(n), np.zeros((n, len(FIELDS))), makers)


def with_field(name: str, *values: float) -> Scored:
    fields = np.zeros((len(values), len(FIELDS)))
    fields[:, next(place for place, field in enumerate(FIELDS) if field.name == name)] = values
    return Scored(np.zeros((len(values), 1)), np.zeros(len(values)), fields)


@pytest.mark.parametrize(
    ("maker", "group"),
    [
        ("SIEMENS", "Siemens"),
        ("Siemens Healthineers", "Siemens"),
        ("GE MEDICAL SYSTEMS", "GE"),
        ('"GE Healthcare"', "GE"),
        ("General Electric Co.", "GE"),
        ("Electric General", "other"),
        ("Agfa-Gevaert", "Agfa"),
        ("GEMS-like", "other"),
        ("Acme", "other"),
    ],
)
def test_a_header_names_a_vendor_by_whole_words_in_any_case(maker: str, group: str) -> None:
    assert names_of(grouping("vendor", vendors=VENDORS), with_makers((maker,))) == [f"vendor {group}"]


def test_films_of_several_vendors_are_mixed_and_a_patient_without_a_header_is_unknown() -> None:
    patients = with_makers(
        ("SIEMENS", "Siemens Healthineers"),
        ("SIEMENS", "GE"),
        ("SIEMENS", "Acme"),
        ("Acme", "Umbra"),
        (),
    )
    found = names_of(grouping("vendor", vendors=VENDORS), patients)
    assert [name.removeprefix("vendor ") for name in found] == [
        "Siemens",
        "mixed",
        "mixed",
        "other",
        "unknown",
    ]


def test_a_header_of_several_vendors_is_of_the_first_one_listed() -> None:
    for vendors, first in ((VENDORS, "Siemens"), (VENDORS[::-1], "Agfa")):
        groups = grouping("vendor", vendors=vendors)
        assert names_of(groups, with_makers(("Siemens for Agfa",))) == [f"vendor {first}"]


def test_an_age_on_an_edge_belongs_above_it_and_no_number_is_unknown() -> None:
    groups = grouping("age", edges=(65.0, 75.0))
    found = names_of(groups, with_field("age", 64.9, 65.0, 74.9, 75.0, np.nan, np.inf))
    assert found == [
        "age < 65",
        "age 65 to 75",
        "age 65 to 75",
        "age ≥ 75",
        "age unknown",
        "age unknown",
    ]


def test_a_word_that_the_schema_does_not_have_is_unknown() -> None:
    groups = grouping("sex")
    found = names_of(groups, with_field("sex", 0.0, 1.0, 2.0, -1.0, 0.5, np.nan))
    assert found == ["sex female", "sex male", *["sex unknown"] * 4]


def test_patients_are_expected_in_all_groups_but_those_that_cannot_be_placed() -> None:
    groups = grouping("vendor", vendors=VENDORS)
    assert [name.split()[-1] for name in groups.names[: groups.n_usual]] == [
        "Siemens",
        "GE",
        "Agfa",
        "other",
    ]
    assert grouping("sex").n_usual == 2


@pytest.mark.parametrize(
    ("name", "asked", "words"),
    [
        ("vendor", {}, "0 vendors"),
        ("sex", {"vendors": VENDORS}, "3 vendors are given for groups by sex"),
        ("vendor", {"vendors": VENDORS, "edges": (1.0,)}, "field vendor is a category"),
        ("blood", {}, "field must be one of"),
    ],
)
def test_what_does_not_go_together_is_refused(name: str, asked: dict[str, object], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        grouping(name, **asked)  # type: ignore[arg-type]


def test_the_shipped_words_name_the_headers_that_scanners_write() -> None:
    asked = compose_settings(["measure=subgroups_vendor"]).measures["subgroups_vendor"]
    groups = grouping("vendor", vendors=asked.measure.vendors)
    headers = {
        "SIEMENS": "Siemens",
        "GE Healthcare": "GE",
        '"GE Healthcare"': "GE",
        "Philips Medical Systems": "Philips",
        "FUJIFILM Corporation": "Fujifilm",
        "FUJI PHOTO FILM Co., ltd.": "Fujifilm",
        "Agfa-Gevaert AG": "Agfa",
        "CARESTREAM HEALTH": "Carestream",
        "KODAK": "Carestream",
        "Canon Inc.": "other",
    }
    found = names_of(groups, with_makers(*((header,) for header in headers)))
    assert found == [f"vendor {name}" for name in headers.values()]


@pytest.mark.parametrize(
    "vendors",
    [
        [{"name": "A", "words": ["-"]}],
        [{"name": "A", "words": ["acme", ""]}],
        [{"name": "Mixed", "words": ["acme"]}],
        [{"name": "A", "words": ["acme"]}, {"name": "a", "words": ["other"]}],
    ],
)
def test_vendors_that_every_header_or_no_name_would_tell_are_refused(vendors: list[object]) -> None:
    with pytest.raises(ValueError, match="vendors must"):
        require_vendors([Vendor.model_validate(each) for each in vendors])
