"""Who is in which group: by the words of a field, by bands of a number, by who made the scanner.

Every patient is in one group, by that patient's own data and public settings alone; who cannot be
placed is in the last one. Imports the contract of measures and the schema.
Legend: n patients · g groups.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from shared.errors import SettingsError
from shared.exam.schema import ClinicalField
from shared.measures.scored import Scored
from shared.strict import FROZEN

VENDOR = "vendor"  # what is asked for in place of a field to group by who made the scanner
OTHER, MIXED, UNKNOWN = "other", "mixed", "unknown"
Indices = NDArray[np.intp]


class Vendor(BaseModel):
    """A maker of scanners, as films' headers name it.

    A header names it if it holds all words of one entry beside each other, whole and in any case.

    Attributes:
        name: as figures call it.
        words: entries by which headers name it; one entry may be two words in a row.
    """

    model_config = FROZEN

    name: str = Field(pattern=r"^\w[\w .&-]{0,30}$")
    words: tuple[str, ...] = Field(min_length=1, max_length=16)


def require_vendors(vendors: Sequence[Vendor]) -> None:
    """Refuse names that say nothing or twice the same, and words that every header has.

    Raises:
        ValueError: as a validator raises it.
    """
    names = [vendor.name.casefold() for vendor in vendors]
    taken = sorted({OTHER, MIXED, UNKNOWN} & set(names))
    if taken or len(set(names)) < len(names):
        raise ValueError(
            f"vendors must have names of their own, and none of {OTHER}, {MIXED}, {UNKNOWN}"
        )
    empty = [vendor.name for vendor in vendors if not all(_words_in(each) for each in vendor.words)]
    if empty:
        raise ValueError(f"vendors must be named by words of letters or digits: {empty} are not")


class Grouping(Protocol):
    """Groups of patients: their names [g], and how many of them patients are expected in, the first."""

    @property
    def names(self) -> tuple[str, ...]:
        """As figures call them."""
        ...

    @property
    def n_usual(self) -> int:
        """How many."""
        ...

    def places(self, patients: Scored) -> Indices:
        """Places of groups [n]."""
        ...


@dataclass(frozen=True)
class FieldGroups:
    """Groups of one clinical field, and last who lacks it. ``edges``: where a number's bands meet."""

    column: int
    names: tuple[str, ...]
    edges: tuple[float, ...]

    @property
    def n_usual(self) -> int:
        """All but the unknown."""
        return len(self.names) - 1

    def places(self, patients: Scored) -> Indices:
        """As ``Grouping``; a number on an edge belongs above it."""
        values, unknown = patients.fields[:, self.column], len(self.names) - 1
        if self.edges:
            band = np.searchsorted(np.asarray(self.edges), values, side="right")
            return np.where(np.isfinite(values), band, unknown)
        is_one = (values >= 0) & (values < unknown) & (values == np.floor(values))
        return np.where(is_one, values, unknown).astype(np.intp)


@dataclass(frozen=True)
class VendorGroups:
    """Named makers, others, patients whose films are of several, and who has no film that says it."""

    vendors: tuple[Vendor, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """``vendor Siemens`` and so on."""
        named = (vendor.name for vendor in self.vendors)
        return tuple(f"{VENDOR} {name}" for name in (*named, OTHER, MIXED, UNKNOWN))

    @property
    def n_usual(self) -> int:
        """Named makers and others."""
        return len(self.vendors) + 1

    def places(self, patients: Scored) -> Indices:
        """As ``Grouping``."""
        return np.array([self._place_of(makers) for makers in patients.makers], dtype=np.intp)

    def _place_of(self, makers: Sequence[str]) -> int:
        found = {self._place_of_one(maker) for maker in makers}
        if len(found) > 1:
            return self.names.index(f"{VENDOR} {MIXED}")
        return found.pop() if found else self.names.index(f"{VENDOR} {UNKNOWN}")

    def _place_of_one(self, maker: str) -> int:
        """Of the first vendor that a header's words name."""
        said = _words_in(maker)
        for place, vendor in enumerate(self.vendors):
            if said and any(_words_in(entry) in said for entry in vendor.words):
                return place
        return len(self.vendors)


def _words_in(text: str) -> str:
    """Lower-case words, a space before and after each; nothing of what has none."""
    words = re.findall(r"[^\W_]+", text.casefold())
    return " ".join(["", *words, ""]) if words else ""


def grouping_of(
    name: str,
    fields: Sequence[ClinicalField],
    *,
    edges: tuple[float, ...],
    vendors: tuple[Vendor, ...],
) -> Grouping:
    """The groups that a measure is asked for.

    Args:
        name: a field of the schema, or ``vendor``.
        fields: the schema's.
        edges: where bands of a number meet; none for words and vendors.
        vendors: of scanners, each at least a name; none for a field.

    Raises:
        SettingsError: no such field, or edges or vendors that do not go with it.
    """
    if (name == VENDOR) != bool(vendors):
        raise SettingsError(
            "vendors-and-field",
            f"{len(vendors)} vendors are given for groups by {name}",
            hint=f"give vendors, and no edges, with field {VENDOR} and only there",
        )
    if name == VENDOR:
        _require_edges(VENDOR, "category", edges)
        return VendorGroups(vendors)
    places = {field.name: place for place, field in enumerate(fields)}
    if name not in places:
        raise SettingsError("no-such-field", f"field must be one of {[*places, VENDOR]}, not {name}")
    field = fields[places[name]]
    _require_edges(field.name, field.kind, edges)
    return FieldGroups(places[name], _names_of(field, edges), edges)


def _require_edges(name: str, kind: str, edges: tuple[float, ...]) -> None:
    if (kind == "number") != bool(edges):
        raise SettingsError(
            "edges-and-field",
            f"field {name} is a {kind}",
            hint="give edges for a number and none for a category",
        )


def _names_of(field: ClinicalField, edges: tuple[float, ...]) -> tuple[str, ...]:
    """Of a field's groups, in order, and of those who lack it."""
    if field.kind == "category":
        return tuple(f"{field.name} {word}" for word in (*field.categories, UNKNOWN))
    bands = [
        f"{field.name} < {edges[0]:g}",
        *(f"{field.name} {low:g} to {high:g}" for low, high in pairwise(edges)),
        f"{field.name} ≥ {edges[-1]:g}",
    ]
    return (*bands, f"{field.name} {UNKNOWN}")
