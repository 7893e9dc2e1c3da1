"""A tree of PNG files as an intake takes it: its films, and the table that its folders are.

A row is a study of a part that the schema has a view of: patient, number, label. Files that are no PNG
have a code, as in a folder of DICOM films. Imports inputs, the words of films and the tree's places.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from client.intake.clinical import RawRow
from client.intake.film_words import find_view, understand
from client.intake.inputs import FilmFile, RawTable, walk_files
from client.intake.tree_place import LEVELS, STUDY_COLUMN, place_in_tree
from client.site.profile import SiteProfile
from shared.errors import IntakeError
from shared.exam.schema import CohortSchema


def tree_films(root: Path) -> list[FilmFile]:
    """Every file of a tree in a stable order; what is no PNG, or lies too high, with a code.

    Raises:
        IntakeError: there is no such folder.
    """
    if not root.is_dir():
        raise IntakeError(
            "no-films-folder",
            f"the schema takes films of a tree, but there is no folder {root.name}",
            hint="put part/patient/study_label/image.png into films/, or name the tree by --films",
        )
    found = [
        FilmFile(f"{root.name}/{path.relative_to(root)}", path, _code(path, root))
        for path in walk_files(root)
    ]
    return sorted(found, key=lambda film: film.place)


def tree_table(root: Path, schema: CohortSchema, profile: SiteProfile) -> RawTable:
    """A row for each study whose part is one of the schema's views.

    Raises:
        IntakeError: as ``tree_films``.
    """
    patient, label = str(schema.patient_column), schema.label.column
    header = tuple(profile.column(name) for name in (patient, label))
    rows = [
        RawRow(
            number,
            dict(zip((*header, STUDY_COLUMN), (place[0], place[2], place[1]), strict=True)),
            where,
        )
        for number, (where, place) in enumerate(_studies(root, schema, profile), start=1)
    ]
    return RawTable(root.name, (*header, STUDY_COLUMN), rows)


def _studies(
    root: Path, schema: CohortSchema, profile: SiteProfile
) -> Iterator[tuple[str, tuple[str, str, str]]]:
    """Where each study lies, and its patient, name and label, each folder once."""
    seen: dict[str, tuple[str, str, str]] = {}
    for film in tree_films(root):
        place = place_in_tree(film.path)
        if film.code or place is None:
            continue
        shown = understand({"BodyPartExamined": place.part}, profile.films, schema.views)
        if find_view(shown, schema.views):
            seen[film.place.rpartition("/")[0]] = place.patient, place.study, place.label
    yield from seen.items()


def _code(path: Path, root: Path) -> str:
    """Why a file is not read, by its name and place; empty where it may be a film."""
    if path.suffix.lower() != ".png" or path.name.startswith("."):
        return "intake.not-dicom"
    return "" if len(path.relative_to(root).parts) >= LEVELS else "intake.missing-patient"
