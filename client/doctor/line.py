"""One line of what ``osteofed-site doctor`` says: what was looked at, how it stands, what to do.

Lines name keys, files of this program, addresses and versions, never a patient. Imports errors only.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from shared.errors import OsteoFedError

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
        remedy = "the system refused: check this user's rights in the site's folder, and the disk"
    else:
        remedy = "this program did not foresee it: pass the line on to those who maintain OsteoFed"
    return problem(name, fact, remedy)


def write_bytes(n_bytes: float) -> str:
    """A size as people read it."""
    return f"{n_bytes / 2**30:.1f} GiB" if n_bytes >= 2**30 else f"{n_bytes / 2**20:.0f} MiB"
