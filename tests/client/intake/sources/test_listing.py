"""What a PACS names on the way down: nothing is lost, nothing is asked twice."""

from __future__ import annotations

from datetime import date

import pytest

from client.intake.sources.listing import Answer, Level, list_levels
from client.intake.sources.staging import FilmQuery, ListedFilm
from shared.errors import IntakeError


class Archive:
    """Studies of one modality each, their series (modality, body part) and images."""

    def __init__(self, tree: dict[str, dict[str, tuple[str, str, list[str]]]]) -> None:
        self.tree = tree
        self.asked: list[tuple[Level, dict[str, str]]] = []

    def find(self, level: Level, wanted: Answer) -> list[Answer]:
        self.asked.append((level, dict(wanted)))
        if level == "STUDY":
            return [{"StudyInstanceUID": uid, "PatientID": f"P-{uid}"} for uid in self.tree]
        series = self.tree[wanted["StudyInstanceUID"]]
        if level == "SERIES":
            return [
                {"SeriesInstanceUID": uid, "Modality": modality, "BodyPartExamined": part}
                for uid, (modality, part, _) in series.items()
            ]
        return [{"SOPInstanceUID": uid} for uid in series[wanted["SeriesInstanceUID"]][2]]


QUERY = FilmQuery(body_parts=("HIP",))


def listed(archive: Archive, query: FilmQuery = QUERY) -> list[ListedFilm]:
    return list(list_levels(archive.find, query))


def test_films_of_wanted_series_are_listed_with_their_patient() -> None:
    archive = Archive({"1": {"1.1": ("DX", "HIP", ["a", "b"]), "1.2": ("DX", "CHEST", ["c"])}})
    assert listed(archive) == [
        ListedFilm("1", "1.1", "a", "P-1"),
        ListedFilm("1", "1.1", "b", "P-1"),
    ]
    assert ("IMAGE", {"StudyInstanceUID": "1", "SeriesInstanceUID": "1.2"}) not in archive.asked


def test_a_study_that_answers_to_two_modalities_is_walked_once() -> None:
    archive = Archive({"1": {"1.1": ("CR", "HIP", ["a"])}})
    assert len(listed(archive)) == 1
    modalities = [q["ModalitiesInStudy"] for level, q in archive.asked if level == "STUDY"]
    assert modalities == ["DX", "CR"]


def test_what_should_hold_films_and_holds_none_is_listed_as_one_that_cannot_come() -> None:
    archive = Archive({"1": {}, "2": {"2.1": ("DX", "HIP", [])}})
    assert listed(archive) == [ListedFilm("1", "", "", "P-1"), ListedFilm("2", "2.1", "", "P-2")]


def test_days_are_asked_as_a_range_and_left_out_when_open() -> None:
    archive = Archive({})
    listed(archive)
    assert "StudyDate" not in archive.asked[0][1]
    listed(archive, FilmQuery(first_day=date(2020, 1, 2)))
    assert archive.asked[-1][1]["StudyDate"] == "20200102-"


def test_something_without_its_uid_stops_the_listing() -> None:
    with pytest.raises(IntakeError) as caught:
        listed(Archive({"": {}}))
    assert caught.value.code == "intake.pacs-unreachable"
    with pytest.raises(IntakeError):
        listed(Archive({"1": {"1.1": ("DX", "HIP", [""])}}))
