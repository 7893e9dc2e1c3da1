"""A region finds its film by UID or by file name, and a name that several films have finds none."""

from __future__ import annotations

from pathlib import Path

from client.intake.regions import Region, Regions, names_of


def region(film: str, **given: object) -> Region:
    """A region that calls its film so."""
    return Region(place=f"masks/{film}.png", film=film, **given)


def test_a_film_is_called_by_its_file_with_or_without_folder_and_suffix():
    names = set(names_of(Path("films/7/IM1.DCM")))
    assert {"IM1.DCM", "IM1", "7/IM1", "films/7/IM1.DCM"} <= names
    assert "7" not in names


def test_a_uid_as_a_file_name_keeps_its_last_number():
    assert set(names_of(Path("1.2.840.5"))) == {"1.2.840.5"}


def test_a_film_finds_its_regions_by_file_and_by_uid():
    by_name, by_uid, other = region("7/IM1"), region("1.2.3"), region("IM2")
    regions = Regions.of([by_name, by_uid, other], [Path("films/7/IM1.dcm")])
    assert regions.of_film(Path("films/7/IM1.dcm"), "1.2.3") == [by_uid, by_name]


def test_a_name_that_two_films_have_is_nobodys():
    paths = [Path("films/7/IM1.dcm"), Path("films/8/IM1.dcm")]
    regions = Regions.of([region("IM1"), region("8/IM1")], paths)
    assert regions.of_film(paths[0]) == []
    assert regions.of_film(paths[1]) == [region("8/IM1")]


def test_the_fingerprint_changes_with_a_box_and_with_a_masks_file(tmp_path):
    mask = tmp_path / "mask.png"
    mask.write_bytes(b"one")
    boxes = [region("a", unit="L1", box=(0, 0, 5, edge)) for edge in (7, 8)]
    found = [Regions((box,)).fingerprint for box in boxes]
    found += [Regions((region("a", path=mask),)).fingerprint]
    mask.write_bytes(b"other")
    found += [Regions((region("a", path=mask),)).fingerprint]
    assert len(set(found)) == 4
