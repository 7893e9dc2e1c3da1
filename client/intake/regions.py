"""The regions of an intake by what they call their film: SOP Instance UID, or the name of its file.

A name may hold folders and may leave the film's suffix out; one that several films have names none of
them. Pure; imports nothing of the project but the canonical hash.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePath

from shared.exam.regions import Box
from shared.signing.canonical import hash_of

_DEEPEST = 5  # folders and file in a name
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
    """Regions of an intake; ``shared_names`` are those by which several films are called."""

    every: tuple[Region, ...] = field(default=(), repr=False)
    shared_names: frozenset[str] = field(default=frozenset(), repr=False)

    @staticmethod
    def of(regions: Iterable[Region], films: Iterable[PurePath]) -> Regions:
        """Regions for the films of an intake."""
        every = tuple(regions)
        called = {region.film for region in every}
        counts = Counter(name for path in films for name in names_of(path) if name in called)
        return Regions(every, frozenset(name for name, n in counts.items() if n > 1))

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.every)

    @cached_property
    def _by_film(self) -> Mapping[str, list[Region]]:
        groups: dict[str, list[Region]] = defaultdict(list)
        for region in self.every:
            if not region.code and region.film not in self.shared_names:
                groups[region.film].append(region)
        return groups

    def of_film(self, path: PurePath, uid: str = "") -> list[Region]:
        """What is given for a film, by its file and by its UID."""
        names = dict.fromkeys([uid, *names_of(path)])
        return [region for name in names if name for region in self._by_film.get(name, ())]

    @cached_property
    def places(self) -> dict[str, str]:
        """The code that each place has before any film is read; most have none."""
        return {region.place: region.code for region in self.every}

    @cached_property
    def fingerprint(self) -> str:
        """Changes with every box, and with the name, size or time of every mask."""
        return hash_of([_state(region) for region in self.every])


def names_of(path: PurePath) -> Iterator[str]:
    """How a region may call a film by its file: with or without folders, with or without suffix."""
    parts = path.parts[-_DEEPEST:]
    for n in range(1, len(parts) + 1):
        name = "/".join(parts[-n:])
        yield name
        if path.suffix.lower() in _SUFFIXES:
            yield name.removesuffix(path.suffix)


def _state(region: Region) -> list[object]:
    seen: list[object] = [region.place, region.film, region.unit, list(region.box or ()), region.frame]
    if region.path is not None:
        state = region.path.stat()
        seen += [state.st_size, str(state.st_mtime_ns)]
    return seen
