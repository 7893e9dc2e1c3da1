"""A folder as the inputs of an intake: DICOM films with their table, or a tree of PNG files alone.

Imports inputs and the tree's reader.
"""

from __future__ import annotations

from pathlib import Path

from client.intake.boxes import BOXES_FILE, list_boxes
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
from shared.errors import IntakeError
from shared.exam.schema import CohortSchema


def folder_inputs(source: Path, schema: CohortSchema, profile: SiteProfile) -> Inputs:
    """``films/`` of a folder, and ``clinical.csv`` unless the films are a tree, which is the table."""
    films = source / FILMS_FOLDER

    def table() -> RawTable:
        if schema.films == "png_tree":
            return tree_table(films, schema, profile)
        return csv_table(source / TABLE_FILE, profile)

    return Inputs(
        table=table,
        films=lambda: films_of(films, schema),
        regions=lambda: regions_of(source, schema, profile),
    )


def regions_of(
    source: Path | None,
    schema: CohortSchema,
    profile: SiteProfile,
    *,
    masks: Path | None = None,
    boxes: Path | None = None,
) -> list[Region]:
    """What is given of films: masks, where there are any, and the boxes that the schema crops by.

    Args:
        source: a folder, which may hold ``masks/`` and ``boxes.csv``.
        schema: what is cropped.
        profile: how tables are written.
        masks: another folder of masks.
        boxes: another table of boxes.

    Raises:
        IntakeError: the schema crops by what is not there, or the table cannot be read.
    """
    folder = masks or (source / MASKS_FOLDER if source is not None else None)
    table = boxes or (source / BOXES_FILE if source is not None else None)
    rule = schema.crops
    has_masks = folder is not None and folder.is_dir()
    if rule is not None and not (table and table.is_file() if rule.source == "boxes" else has_masks):
        raise IntakeError(
            "no-regions",
            f"the schema {schema.name} crops films by {rule.source}, and there are none",
            hint=f"put {BOXES_FILE} or {MASKS_FOLDER}/ beside {FILMS_FOLDER}/, or name "
            f"--{rule.source}; docs/how-to/crops-and-masks.md",
        )
    found = list_masks(folder) if folder is not None and has_masks else []
    if rule is not None and rule.source == "boxes" and table is not None:
        found += list_boxes(table, profile)
    return found


def films_of(root: Path, schema: CohortSchema) -> list[FilmFile]:
    """The films under a folder, of the kind that the schema takes.

    Raises:
        IntakeError: there is no such folder, or its DICOMDIR cannot be read.
    """
    return tree_films(root) if schema.films == "png_tree" else film_files(root)
