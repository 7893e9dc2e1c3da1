"""A folder as the inputs of an intake: DICOM films with their table, or a tree of PNG files alone.

Imports inputs and the tree's reader.
"""

from __future__ import annotations

from pathlib import Path

from client.intake.inputs import (
    FILMS_FOLDER,
    TABLE_FILE,
    FilmFile,
    Inputs,
    RawTable,
    csv_table,
    film_files,
)
from client.intake.masks import MASKS_FOLDER, list_masks
from client.intake.png_tree import tree_films, tree_table
from client.intake.regions import Region
from client.site.profile import SiteProfile
from shared.exam.schema import CohortSchema


def folder_inputs(source: Path, schema: CohortSchema, profile: SiteProfile) -> Inputs:
    """``films/`` of a folder, and ``clinical.csv`` unless the films are a tree, which is the table."""
    films = source / FILMS_FOLDER

    def table() -> RawTable:
        if schema.films == "png_tree":
            return tree_table(films, schema, profile)
        return csv_table(source / TABLE_FILE, profile)

    return Inputs(
        table=table, films=lambda: films_of(films, schema), regions=lambda: regions_of(source)
    )


def regions_of(source: Path | None, *, masks: Path | None = None) -> list[Region]:
    """What is given of films: a folder of masks that is named, else ``masks/`` of the source."""
    folder = masks or (source / MASKS_FOLDER if source is not None else None)
    return list_masks(folder) if folder is not None and folder.is_dir() else []


def films_of(root: Path, schema: CohortSchema) -> list[FilmFile]:
    """The films under a folder, of the kind that the schema takes.

    Raises:
        IntakeError: there is no such folder, or its DICOMDIR cannot be read.
    """
    return tree_films(root) if schema.films == "png_tree" else film_files(root)
