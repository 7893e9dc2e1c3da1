"""What a PACS has of a query: its studies, their series, their images, level by level (PS3.4 C.6.2).

Nothing that a PACS names gets lost on the way down. A study without series, or a wanted series without
images, is itself listed as a film that cannot come: the archive may say so, the site must see it.
Imports staging and errors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Literal

from client.intake.sources.staging import FilmQuery, ListedFilm
from shared.errors import IntakeError

Level = Literal["STUDY", "SERIES", "IMAGE"]
Answer = Mapping[str, str]  # keyword → value
Find = Callable[[Level, Mapping[str, str]], list[Answer]]  # all that match, or IntakeError

# Each level's own UID, then what else is asked for.
KEYS: dict[Level, tuple[str, ...]] = {
    "STUDY": ("StudyInstanceUID", "PatientID"),
    "SERIES": ("SeriesInstanceUID", "Modality", "BodyPartExamined"),
    "IMAGE": ("SOPInstanceUID",),
}


def list_levels(find: Find, query: FilmQuery) -> Iterator[ListedFilm]:
    """Films of the studies, then series, that match; a study is asked for once.

    Raises:
        IntakeError: the PACS does not answer, or names something without its UID.
    """
    seen: set[str] = set()
    days = {"StudyDate": query.day_range()} if query.day_range() else {}
    for modality in query.modalities:
        for study in _named(find, "STUDY", {"ModalitiesInStudy": modality} | days):
            if study["StudyInstanceUID"] not in seen:
                seen.add(study["StudyInstanceUID"])
                yield from _films_of(find, study["StudyInstanceUID"], study["PatientID"], query)


def _films_of(find: Find, study: str, patient_id: str, query: FilmQuery) -> Iterator[ListedFilm]:
    above = {"StudyInstanceUID": study}
    all_series = _named(find, "SERIES", above)
    if not all_series:
        yield ListedFilm(study, "", "", patient_id)
    for series in all_series:
        uid = series["SeriesInstanceUID"]
        if query.wants_series(series["Modality"], series["BodyPartExamined"]):
            images = _named(find, "IMAGE", above | {"SeriesInstanceUID": uid})
            for name in [image["SOPInstanceUID"] for image in images] or [""]:
                yield ListedFilm(study, uid, name, patient_id)


def _named(find: Find, level: Level, wanted: Mapping[str, str]) -> list[Answer]:
    answers = find(level, wanted)
    if not all(answer[KEYS[level][0]] for answer in answers):
        raise IntakeError(
            "pacs-unreachable",
            f"the PACS lists something at level {level} without its {KEYS[level][0]}",
            hint="report it to who runs the PACS: what has no UID cannot be fetched",
        )
    return answers
