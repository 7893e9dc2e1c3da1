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
    if problem := crops_problem(source, schema, masks=masks, boxes=boxes):
        raise IntakeError(
            "no-regions",
            problem,
            hint=f"put {BOXES_FILE} or {MASKS_FOLDER}/ beside {FILMS_FOLDER}/, or name --boxes or "
            "--masks; docs/how-to/crops-and-masks.md",
        )
    folder, table = _beside(source, MASKS_FOLDER, masks), _beside(source, BOXES_FILE, boxes)
    found = list_masks(folder) if folder is not None and folder.is_dir() else []
    if table is not None and schema.crops is not None and schema.crops.source == "boxes":
        found += list_boxes(table, profile)
    return found


def crops_problem(
    source: Path | None,
    schema: CohortSchema,
    *,
    masks: Path | None = None,
    boxes: Path | None = None,
) -> str:
    """Why a schema's crops cannot be cut by what ``regions_of`` is given; empty where they can."""
    rule = schema.crops
    if rule is None:
        return ""
    folder, table = _beside(source, MASKS_FOLDER, masks), _beside(source, BOXES_FILE, boxes)
    if rule.source == "boxes":
        is_there = table is not None and table.is_file()
    else:
        is_there = folder is not None and folder.is_dir()
    return "" if is_there else f"cohort {schema.name} crops films by {rule.source}, and there are none"


def _beside(source: Path | None, name: str, named: Path | None) -> Path | None:
    """What is named, else what has a usual name in a folder."""
    return named or (source / name if source is not None else None)


def films_of(root: Path, schema: CohortSchema) -> list[FilmFile]:
    """The films under a folder, of the kind that the schema takes.

    Raises:
        IntakeError: there is no such folder, or its DICOMDIR cannot be read.
    """
    return tree_films(root) if schema.films == "png_tree" else film_files(root)
