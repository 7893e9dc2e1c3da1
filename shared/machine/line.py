"""One line of what ``doctor`` says on either side: what was looked at, how it stands, what to do.

Lines name keys, files of this program, addresses and versions, never a patient. Imports errors only.
"""

from __future__ import annotations

import shutil
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from shared.errors import OsteoFedError

_PLAN_DAYS, _HURRY_DAYS, _STOP_DAYS = 60, 30, 7

State = Literal["ok", "attention", "problem", "not checked"]


@dataclass(frozen=True, kw_only=True)
class Line:
    """``attention`` will become a problem or costs time; ``not checked`` lacks something to check."""

    name: str
    state: State
    fact: str
    remedy: str = ""


def ok(name: str, fact: str) -> Line:
    """All is well."""
    return Line(name=name, state="ok", fact=fact)


def attention(name: str, fact: str, remedy: str) -> Line:
    """It works, and somebody should look at it."""
    return Line(name=name, state="attention", fact=fact, remedy=remedy)


def problem(name: str, fact: str, remedy: str) -> Line:
    """Rounds fail, or protection is missing, until it is mended."""
    return Line(name=name, state="problem", fact=fact, remedy=remedy)


def not_checked(name: str, fact: str, remedy: str) -> Line:
    """Nothing to look at was given."""
    return Line(name=name, state="not checked", fact=fact, remedy=remedy)


def look_at_disk(
    folder: Path, whose: str, *, least: int, comfortable: int, full: str, tight: str
) -> Line:
    """Room on the disk of a folder, in bytes.

    Args:
        folder: any on that disk.
        whose: folder, in words.
        least: below it rounds fail, and ``full`` says so.
        comfortable: below it ``tight`` says what takes room.
        full: remedy.
        tight: remedy.
    """
    free = shutil.disk_usage(folder).free
    fact = f"{write_bytes(free)} free where {whose} folder lies"
    if free < least:
        return problem("disk", fact, full)
    return attention("disk", fact, tight) if free < comfortable else ok("disk", fact)


def observe(name: str, look: Callable[[], Line | list[Line]]) -> list[Line]:
    """What ``look`` saw; whatever stops it becomes a problem, since the other lines must still come."""
    try:
        seen = look()
    except OsteoFedError as error:
        return [problem(name, f"{error.code}: {error.fact}", error.hint)]
    except Exception as error:  # noqa: BLE001 - a broken library may raise anything
        return [_unforeseen(name, error)]
    return seen if isinstance(seen, list) else [seen]


def _unforeseen(name: str, error: Exception) -> Line:
    """Type and place alone: the text of an exception may name a patient."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    fact = f"looking failed: {type(error).__name__} in {Path(place.filename).name}, line {place.lineno}"
    if isinstance(error, ImportError):
        remedy = "a library is missing or broken: install this release again"
    elif isinstance(error, OSError):
        remedy = "the system refused: check this user's rights in the folder, and the disk"
    else:
        remedy = "this program did not foresee it: pass the line on to those who maintain OsteoFed"
    return problem(name, fact, remedy)


def write_bytes(n_bytes: float) -> str:
    """A size as people read it."""
    return f"{n_bytes / 2**30:.1f} GiB" if n_bytes >= 2**30 else f"{n_bytes / 2**20:.0f} MiB"


def expiry_line(name: str, ends_s: float, now_s: float, remedy: str) -> Line:
    """60 days before its end a certificate is noted, 30 days before with haste, 7 days is too late.

    Args:
        name: of the line.
        ends_s: seconds since 1970.
        now_s: seconds since 1970.
        remedy: what to do, as an order.
    """
    days = int((ends_s - now_s) // 86400)
    if days < 0:
        return problem(name, f"expired {-days} days ago", remedy)
    fact = f"valid for {days} days"
    if days > _PLAN_DAYS:
        return ok(name, fact)
    if days > _HURRY_DAYS:
        return attention(name, fact, f"within {_HURRY_DAYS} days, {remedy}")
    if days > _STOP_DAYS:
        return attention(name, fact, f"this week, {remedy}")
    return problem(name, fact, f"today, {remedy}")


def is_well(lines: Sequence[Line]) -> bool:
    """Whether there is no problem among them."""
    return all(line.state != "problem" for line in lines)


def lines_as_json(lines: Sequence[Line]) -> dict[str, object]:
    """For programs: verdict and lines."""
    verdict = "ok" if is_well(lines) else "problem"
    return {"verdict": verdict, "lines": [asdict(line) for line in lines]}
