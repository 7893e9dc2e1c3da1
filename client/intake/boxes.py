"""A table of boxes: film, unit and four edges in pixels of the film as it is stored.

Columns film, unit, x0, y0, x1, y1, or what the profile calls them; separator and decimal sign are
those of the site's tables. x counts columns from the left edge, y rows from the upper one.
"""

from __future__ import annotations

from pathlib import Path

from client.intake.clinical import RawRow, parse_number, read_table
from client.intake.regions import Region
from client.site.profile import SiteProfile
from shared.errors import IntakeError

BOXES_FILE = "boxes.csv"
COLUMNS = ("film", "unit", "x0", "y0", "x1", "y1")
EMPTY_BOX = "intake.empty-box"


def list_boxes(path: Path, profile: SiteProfile) -> list[Region]:
    """The boxes of a table, one for each row; a row without a box has a code.

    Raises:
        IntakeError: the table cannot be read, or lacks a column.
    """
    header, rows = read_table(path, profile)
    missing = [profile.column(name) for name in COLUMNS if profile.column(name) not in header]
    if missing:
        raise IntakeError(
            "missing-column",
            f"the table of boxes {path.name} must have {', '.join(map(profile.column, COLUMNS))}, "
            f"and lacks {', '.join(missing)}",
            hint="name its columns under columns in the site profile, or check its separator",
        )
    return [_box(row, f"{path.name} row {row.number}", profile) for row in rows]


def _box(row: RawRow, place: str, profile: SiteProfile) -> Region:
    if row.cells is None:
        return Region(place=place, code="intake.malformed-row")
    film, unit, *edges = (row.cells[profile.column(name)] for name in COLUMNS)
    numbers = [parse_number(edge, profile) for edge in edges]
    left, top, right, bottom = (0.0 if number is None else number for number in numbers)
    code = ""
    if None in numbers:
        code = "intake.not-a-number"
    elif left >= right or top >= bottom:
        code = EMPTY_BOX
    return Region(place=place, film=film, unit=unit, box=(left, top, right, bottom), code=code)
