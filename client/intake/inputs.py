"""What an intake takes in: film files, each with its place, and the rows of a table as text.

Films may come from a folder tree or a DICOMDIR; a PACS fills a folder first, see
``client.intake.sources``. Imports the readers of tables and of a DICOMDIR.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from client.intake.clinical import RawRow, read_table
from client.intake.dicom import list_dicomdir
from client.intake.regions import Region
from client.site.profile import SiteProfile
from shared.errors import IntakeError

FILMS_FOLDER = "films"
TABLE_FILE = "clinical.csv"
ABSENT = "intake.absent-film"


@dataclass(frozen=True)
class FilmFile:
    """One film that should be there; ``place`` names it to the site, ``code``: why it is not read."""

    place: str = field(repr=False)
    path: Path = field(repr=False)
    code: str = ""


@dataclass(frozen=True)
class RawTable:
    """A clinical table as text, from whatever source; ``name`` stands in front of row numbers."""

    name: str
    header: tuple[str, ...]
    rows: Sequence[RawRow] = field(repr=False)


@dataclass(frozen=True)
class Inputs:
    """A table, and how to come by the films: called once, after the table has been understood.

    ``regions``: what is given of the films beside them, called after them.
    """

    table: Callable[[], RawTable]
    films: Callable[[], Sequence[FilmFile]]
    regions: Callable[[], Sequence[Region]] = tuple


def csv_table(path: Path, profile: SiteProfile) -> RawTable:
    """A CSV file.

    Raises:
        IntakeError: as ``read_table``.
    """
    header, rows = read_table(path, profile)
    return RawTable(path.name, header, rows)


def film_files(root: Path) -> list[FilmFile]:
    """Every file under a folder, or those that a DICOMDIR lists, in a stable order.

    Linked folders are entered, each folder once.
    A file that a DICOMDIR at the folder's top lists and that is not there is listed with a code.

    Raises:
        IntakeError: there is neither, or the DICOMDIR cannot be read.
    """
    if root.is_file():
        return sorted(_listed(root, root.parent.name), key=lambda film: film.place)
    if not root.is_dir():
        raise IntakeError(
            "no-films-folder",
            f"the schema has views, but there is no folder or DICOMDIR {root.name}",
            hint=f"put the DICOM files into {FILMS_FOLDER}/ beside {TABLE_FILE}, or name --films",
        )
    films = [FilmFile(f"{root.name}/{path.relative_to(root)}", path) for path in walk_files(root)]
    index = root / "DICOMDIR"
    if index.is_file():
        films += [film for film in _listed(index, root.name) if film.code]
    return sorted(films, key=lambda film: film.place)


def walk_files(root: Path) -> Iterator[Path]:
    """Every file below a root; a link may lead back to where the walk has been."""
    seen: set[str] = set()
    for folder, below, files in os.walk(root, followlinks=True):
        below.sort()
        real = os.path.realpath(folder)
        if real in seen:
            below.clear()
        else:
            seen.add(real)
            yield from (Path(folder) / file for file in files)


def _listed(index: Path, name: str) -> Iterator[FilmFile]:
    for parts in list_dicomdir(index):
        path = index.parent.joinpath(*parts)
        yield FilmFile(f"{name}/{'/'.join(parts)}", path, "" if path.is_file() else ABSENT)
