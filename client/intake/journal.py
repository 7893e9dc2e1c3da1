"""What films were read to, sealed on disk, so that no file is read twice.

An intake that was cut off goes on where it was, and the next one of an unchanged folder reads nothing.
Who withdraws takes the whole journal along (``client.people.withdrawal``), and a purge the folder it
lies in; of people who are left out nothing stays. Imports inputs, workers and the exam package.
"""

from __future__ import annotations

import base64
import json
import math
import os
import shutil
from collections.abc import Iterator, Sequence, Set
from dataclasses import asdict
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.intake import (
    codecs,
    decode,
    dicom,
    film_regions,
    film_sides,
    film_vocabulary,
    film_words,
    jpeg,
    masks,
    overview,
    picture,
    png_film,
    read_film,
    regions,
    seg,
    tree_place,
    workers,
)
from client.intake.inputs import FilmFile
from client.intake.overview import OVERVIEW_BYTES, OVERVIEW_PIXELS
from client.intake.read_film import ReadCrop, ReadFilm, read_of, told_of
from client.intake.workers import ReadingRule
from client.site.linkage import Pseudonyms
from shared.exam import anatomy, field, resize
from shared.exam import pixels as exam_pixels
from shared.exam import regions as exam_regions
from shared.exam.pixels import PREPROCESSING_VERSION, framing_of
from shared.signing.canonical import hash_of, sha256_hex
from shared.signing.keys import seal, unseal

JOURNAL_FOLDER = ".intake"
PARTIAL = ".intake.part"  # beside it, while lines are left out
_PURPOSE = "intake-journal"
_READERS = (
    *(dicom, decode, codecs, jpeg, picture, png_film, tree_place, overview),
    *(film_words, film_vocabulary, film_sides, read_film, workers),
    *(regions, masks, seg, film_regions, exam_regions),
    *(anatomy, field, resize, exam_pixels),
)
_DECODERS = ("pydicom", "python-gdcm", "imagecodecs", "pillow", "numpy")


class FilmJournal:
    """What films were read to, on disk: sealed lines, and the sealed small images they point to.

    A line belongs to a file of one place, size and time, as this program reads under one rule; all else
    is read again.
    """

    def __init__(self, folder: Path, rule: ReadingRule, pseudonyms: Pseudonyms) -> None:
        self._folder = folder
        self._reading, self._pseudonyms = rule, pseudonyms
        self._secret = pseudonyms.subkey("intake-journal")
        self._small_bytes = rule.image_pixels**2 * np.dtype(np.float16).itemsize
        self._mask_bytes = math.ceil(rule.image_pixels**2 / 8) if rule.regions else 0
        plain_bytes = self._small_bytes + OVERVIEW_BYTES + self._mask_bytes
        self._image_bytes = len(self._seal(bytes(plain_bytes)))
        self._rule = hash_of(
            {
                "preprocessing": PREPROCESSING_VERSION,
                "program": _program(),
                "views": [view.model_dump(mode="json") for view in rule.views],
                "image_pixels": rule.image_pixels,
                "films": rule.films,
                "default_laterality": rule.default_laterality,
                "film_words": rule.film_words.model_dump(mode="json"),
                "regions": rule.regions.fingerprint,
                "crops": rule.crops.model_dump(mode="json") if rule.crops else None,
            }
        )
        if folder.name != PARTIAL:
            shutil.rmtree(folder.with_name(PARTIAL), ignore_errors=True)
        self._begin()

    def _begin(self) -> None:
        folder = self._folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._known: dict[str, int] = {}  # stamp of a file → where its line begins
        self._lines = open(folder / "journal", "a+b", opener=_private)  # noqa: SIM115
        self._images = open(folder / "images", "a+b", opener=_private)  # noqa: SIM115
        self._recover()

    def close(self, *, keep: bool) -> None:
        """Let go of the files; forget everything unless a later intake is to use it."""
        self._lines.close()
        self._images.close()
        if not keep:
            shutil.rmtree(self._folder)

    def keep_only(self, stamps: Set[str]) -> None:
        """Forget what belongs to other files than these, lines and images."""
        if self._known.keys() <= stamps:
            return
        partial = self._folder.with_name(PARTIAL)
        kept = FilmJournal(partial, self._reading, self._pseudonyms)
        for stamp in self._known.keys() & stamps:
            if found := self.find(stamp):
                kept.add(stamp, found[0])
        kept.close(keep=True)
        self.close(keep=False)
        partial.rename(self._folder)
        self._begin()

    def stamp(self, film: FilmFile) -> str:
        """What a line is found by: it changes with the file and with the way of reading."""
        state = film.path.stat()
        return hash_of([self._rule, film.place, state.st_size, str(state.st_mtime_ns)])

    def find(self, stamp: str) -> tuple[ReadFilm, int] | None:
        """What a file was read to, and the row of its image; None when it must be read."""
        at = self._known.get(stamp)
        if at is None:
            return None
        self._lines.seek(at)
        entry = self._open(self._lines.readline())
        try:
            kept = self.image(entry["row"]) if entry["sha256"] else b""
        except ValueError:  # a power cut may leave a hole
            return None
        if kept and sha256_hex(kept) != entry["sha256"]:
            return None
        image, whole, mask = self._parts(kept)
        try:
            crops = tuple(self._crop(crop) for crop in entry["crops"])
        except ValueError:
            return None
        bone = mask if entry["has_mask"] else b""
        return read_of(entry, image=image, overview=whole, mask=bone, crops=crops), entry["row"]

    def add(self, stamp: str, read: ReadFilm) -> int:
        """Keep what a file was read to; returns the row of its image."""
        row = self._images.seek(0, os.SEEK_END) // self._image_bytes
        plain = self._record(read.image, read.overview, read.mask)
        crops = []
        if read.image:
            self._images.write(self._seal(plain))
            for place, crop in enumerate(read.crops, start=row + 1):
                own = self._record(crop.image, read.overview, crop.mask)
                self._images.write(self._seal(own))
                told = {"unit": crop.unit, "framing": asdict(crop.framing), "row": place}
                crops.append(told | {"has_mask": bool(crop.mask), "sha256": sha256_hex(own)})
            self._images.flush()
        entry = told_of(read) | {
            "stamp": stamp,
            "has_mask": bool(read.mask),
            "crops": crops,
            "row": row,
            "sha256": sha256_hex(plain) if read.image else "",
        }
        self._known[stamp] = self._lines.seek(0, os.SEEK_END)
        self._lines.write(base64.b64encode(self._seal(json.dumps(entry).encode())) + b"\n")
        self._lines.flush()
        return row

    def images(self, rows: Sequence[int], pixels: int) -> Iterator[NDArray[np.float16]]:
        """Images [h, w] of some rows, read one at a time."""
        for row in rows:
            small, _, _ = self._parts(self.image(row))
            yield np.frombuffer(small, np.float16).reshape(pixels, pixels)

    def masks(self, rows: Sequence[int], pixels: int) -> Iterator[NDArray[np.bool_]]:
        """Bone [h, w] of some rows, read one at a time; all False where none is given."""
        for row in rows:
            _, _, packed = self._parts(self.image(row))
            bits = np.unpackbits(np.frombuffer(packed, np.uint8), count=pixels**2)
            yield bits.astype(np.bool_).reshape(pixels, pixels)

    def overviews(self, rows: Sequence[int]) -> Iterator[NDArray[np.uint8]]:
        """Whole films [n, n] of some rows, read one at a time."""
        for row in rows:
            _, whole, _ = self._parts(self.image(row))
            yield np.frombuffer(whole, np.uint8).reshape(OVERVIEW_PIXELS, OVERVIEW_PIXELS)

    def image(self, row: int) -> bytes:
        """The bytes of one image, and of the overview and the mask that follow it.

        Raises:
            ValueError: they are not what was kept.
        """
        self._images.seek(row * self._image_bytes)
        return unseal(self._secret, self._images.read(self._image_bytes), purpose=_PURPOSE)

    def _record(self, image: bytes, overview: bytes, mask: bytes) -> bytes:
        return image + overview + (mask or bytes(self._mask_bytes))

    def _crop(self, told: dict[str, Any]) -> ReadCrop:
        """A crop that was kept. Raises ValueError: its image is not what was kept."""
        kept = self.image(told["row"])
        framing = framing_of(told["framing"])
        if sha256_hex(kept) != told["sha256"] or framing is None:
            raise ValueError("another image")
        image, _, mask = self._parts(kept)
        return ReadCrop(
            unit=told["unit"], image=image, mask=mask if told["has_mask"] else b"", framing=framing
        )

    def _parts(self, plain: bytes) -> tuple[bytes, bytes, bytes]:
        """Image, overview and mask."""
        end = self._small_bytes + OVERVIEW_BYTES
        return plain[: self._small_bytes], plain[self._small_bytes : end], plain[end:]

    def _recover(self) -> None:
        """Take what is whole; a torn end, in lines or images, is cut off and read again."""
        n_images = os.fstat(self._images.fileno()).st_size // self._image_bytes
        end = at = n_used = 0
        self._lines.seek(0)
        for line in self._lines:
            try:
                entry = self._open(line)
            except ValueError:
                break
            n_used = max(n_used, entry["row"] + bool(entry["sha256"]) + len(entry["crops"]))
            if n_used > n_images:
                break
            self._known[entry["stamp"]] = at
            end = at = at + len(line)
        self._lines.truncate(end)
        self._images.truncate(min(n_used, n_images) * self._image_bytes)

    def _seal(self, data: bytes) -> bytes:
        return seal(self._secret, data, purpose=_PURPOSE)

    def _open(self, line: bytes) -> dict[str, Any]:
        plain = unseal(self._secret, base64.b64decode(line), purpose=_PURPOSE)
        entry: dict[str, Any] = json.loads(plain)
        return entry


@cache
def _program() -> str:
    """What reads films: this program's own files and the versions of its decoders."""
    sources = [sha256_hex(Path(str(module.__file__)).read_bytes()) for module in _READERS]
    return hash_of([*sources, *(metadata.version(name) for name in _DECODERS)])


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
