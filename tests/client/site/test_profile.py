"""A site's profile: which cells say nothing, which header holds which name, what cannot be declared."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from client.site.profile import SiteProfile


@pytest.mark.parametrize("text", ["", "  ", "NA", "n/a", " NaN ", "Unknown", "--", "?"])
def test_usual_words_for_no_value_are_missing(text: str) -> None:
    assert SiteProfile().is_missing(text)


@pytest.mark.parametrize("text", ["0", "no", "none at all", "-1", "999"])
def test_values_are_not(text: str) -> None:
    assert not SiteProfile().is_missing(text)


def test_a_sites_own_words_are_missing_as_they_are_spelt() -> None:
    profile = SiteProfile(missing_tokens=("999", "k.A."))
    assert profile.is_missing(" 999 ")
    assert profile.is_missing("k.A.")
    assert not profile.is_missing("K.A.")
    assert profile.is_missing("na"), "beside the usual ones"


def test_a_name_that_is_not_mapped_is_spelt_as_in_the_schema() -> None:
    profile = SiteProfile(columns={"age": "ALTER"})
    assert (profile.column("age"), profile.column("sex")) == ("ALTER", "sex")


@pytest.mark.parametrize(
    "values",
    [
        {"separator": "."},
        {"decimal": ";"},
        {"default_laterality": "left"},
        {"fhir": {"from_patient": {"age": "birth"}}},
        {"colour": "red"},
    ],
)
def test_what_is_no_setting_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        SiteProfile.model_validate(values)


def test_an_encoding_that_there_is_not_is_refused_with_the_profile() -> None:
    for name in ("utf8x", "hex"):
        with pytest.raises(ValidationError, match="must name an encoding of text"):
            SiteProfile(encoding=name)
    assert SiteProfile(encoding="cp1252").encoding == "cp1252"
