"""Which films are asked of a PACS: days, modalities and body parts as DICOM matches them."""

from __future__ import annotations

from datetime import date

import pytest

from client.intake.sources.staging import FilmQuery, ListedFilm

FIRST, LAST = date(2020, 1, 2), date(2021, 12, 31)


@pytest.mark.parametrize(
    ("first", "last", "text"),
    [
        (None, None, ""),
        (FIRST, None, "20200102-"),
        (None, LAST, "-20211231"),
        (FIRST, LAST, "20200102-20211231"),
    ],
)
def test_days_are_a_range_matching_key(first: date | None, last: date | None, text: str) -> None:
    assert FilmQuery(first_day=first, last_day=last).day_range() == text


@pytest.mark.parametrize(
    ("modality", "part", "is_wanted"),
    [
        ("DX", "HIP", True),
        ("dx", "hip", True),
        ("CR", "HIP", True),
        ("CT", "HIP", False),
        ("DX", "CHEST", False),
        # a series that does not say what it is may hold what is wanted
        ("", "HIP", True),
        ("DX", "", True),
        ("", "", True),
        ("CT", "", False),
    ],
)
def test_a_series_is_wanted_unless_it_says_that_it_is_something_else(
    modality: str, part: str, is_wanted: bool
) -> None:
    assert FilmQuery(body_parts=("Hip",)).wants_series(modality, part) is is_wanted


def test_without_body_parts_all_are_wanted() -> None:
    assert FilmQuery().wants_series("DX", "SKULL")


def test_a_films_place_leads_back_to_it_and_is_never_shown() -> None:
    film = ListedFilm("1.2", "3", "4", "Canary")
    assert film.place == "pacs 1.2/3/4"
    assert "Canary" not in repr(film)
    assert "1.2" not in repr(film)
