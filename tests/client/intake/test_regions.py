"""A region finds its film by UID, or by the whole place of its file."""

from __future__ import annotations

from pathlib import Path

from client.intake.regions import Region, Regions


def region(film: str, **given: object) -> Region:
    """A region that calls its film so."""
    return Region(place=f"masks/{film}.png", film=film, **given)


FILMS = [(place, Path("/in") / place) for place in ("films/7/IM1.dcm", "films/8/IM1.dcm")]


def test_a_film_is_called_by_its_whole_place_with_or_without_suffix_and_by_its_uid():
    called = [region(name) for name in ("7/IM1.dcm", "7/IM1", "1.2.3", "IM1", "8/IM1", "films/7/IM1")]
    regions = Regions.of(called, FILMS)
    found = regions.of_film(FILMS[0][1], "1.2.3")
    assert [each.film for each in found] == ["1.2.3", "7/IM1.dcm", "7/IM1"]


def test_who_else_is_there_decides_nothing_about_a_films_regions():
    called = [region("7/IM1"), region("IM1")]
    alone, both = (Regions.of(called, films).of_film(FILMS[0][1]) for films in (FILMS[:1], FILMS))
    assert alone == both == called[:1]


def test_a_uid_as_a_file_name_keeps_its_last_number():
    path = Path("/in/films/1.2.840.5")
    regions = Regions.of([region("1.2.840.5"), region("1.2.840")], [("films/1.2.840.5", path)])
    assert [each.film for each in regions.of_film(path)] == ["1.2.840.5"]


def test_a_film_alone_is_called_by_its_file():
    assert Regions((region("IM1"),)).of_film(Path("/anywhere/IM1.DCM")) == [region("IM1")]


def test_the_fingerprint_changes_with_a_box_and_with_a_masks_file(tmp_path):
    mask = tmp_path / "mask.png"
    mask.write_bytes(b"one")
    boxes = [region("a", unit="L1", box=(0, 0, 5, edge)) for edge in (7, 8)]
    found = [Regions((box,)).fingerprint for box in boxes]
    found += [Regions((region("a", path=mask),)).fingerprint]
    mask.write_bytes(b"other")
    found += [Regions((region("a", path=mask),)).fingerprint]
    assert len(set(found)) == 4
