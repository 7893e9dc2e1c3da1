"""The regions of an intake by what they call their film: SOP Instance UID, or where its file lies.

A file is called by its place below the films' folder, with or without suffix, never by less of it:
which region is a film's does not depend on who else is there. Imports nothing but shared.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from shared.exam.regions import Box
from shared.signing.canonical import hash_of

_SUFFIXES = frozenset({".dcm", ".dicom", ".dic", ".ima", ".png"})


@dataclass(frozen=True, kw_only=True)
class Region:
    """A box or a mask as it was found, before its film is looked at.

    ``place`` names it to the site; ``film`` is what it calls its film; ``unit`` a word for what it
    shows, empty: the film's bone; ``frame`` of a SEG; ``code``: why it cannot be used.
    """

    place: str = field(repr=False)
    film: str = field(default="", repr=False)
    unit: str = ""
    box: Box | None = None
    path: Path | None = field(default=None, repr=False)
    frame: int | None = None
    code: str = ""


@dataclass(frozen=True)
class Regions:
    """Regions of an intake; ``names``: the place of each film below the films' folder."""

    every: tuple[Region, ...] = field(default=(), repr=False)
    names: Mapping[Path, str] = field(default_factory=dict, repr=False)

    @staticmethod
    def of(regions: Iterable[Region], films: Iterable[tuple[str, Path]]) -> Regions:
        """Regions for films, each with its place, which begins with the name of their folder."""
        return Regions(
            tuple(regions), {path: place.partition("/")[2] or place for place, path in films}
        )

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.every)

    @cached_property
    def _by_film(self) -> Mapping[str, list[Region]]:
        groups: dict[str, list[Region]] = defaultdict(list)
        for region in self.every:
            if region.film and not region.code:
                groups[region.film].append(region)
        return groups

    def of_film(self, path: Path, uid: str = "") -> list[Region]:
        """What is given for a film, by its UID and by its file."""
        name = self.names.get(path, path.name)
        plain = name.removesuffix(path.suffix) if path.suffix.lower() in _SUFFIXES else name
        names = dict.fromkeys((uid, name, plain))
        return [region for name in names for region in self._by_film.get(name, ())]

    @cached_property
    def places(self) -> dict[str, str]:
        """The code that each place has before any film is read; most have none."""
        return {region.place: region.code for region in self.every}

    @cached_property
    def fingerprint(self) -> str:
        """Changes with every box, and with the name, size or time of every mask."""
        return hash_of([_state(region) for region in self.every])


def _state(region: Region) -> list[object]:
    seen: list[object] = [region.place, region.film, region.unit, list(region.box or ()), region.frame]
    if region.path is not None:
        state = region.path.stat()
        seen += [state.st_size, str(state.st_mtime_ns)]
    return seen
