"""What a film was read to, and its form between processes: JSON and bytes, which can only be data.

Whoever decodes a hostile film may be its tool from then on. So what a worker sends is parsed as JSON
values of known kinds, beside plain bytes, and never as objects. Imports the film and the exam package.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import date
from itertools import pairwise
from typing import Any

import numpy as np

from client.intake.dicom import Film
from client.intake.film_words import Word
from shared.exam.pixels import Framing, Picture, framing_of

NO_PICTURE = Picture(pixels=np.zeros((0, 0), dtype=np.float32))
_HEAD_BYTES = 4
_TEXTS = (
    *("spacing_source", "photometric", "manufacturer", "presentation_intent", "transfer_syntax"),
    *("patient_id", "issuer", "sop_instance_uid"),
)


@dataclass(frozen=True, kw_only=True)
class ReadCrop:
    """A unit of a film, prepared: as the fields of ``ReadFilm`` of the same names."""

    unit: str
    image: bytes = field(repr=False)
    mask: bytes = field(repr=False)
    framing: Framing


@dataclass(frozen=True, kw_only=True)
class ReadFilm:
    """What a worker found: a film without its large pixels, or a code and whose film it is.

    ``image`` holds [image_pixels, image_pixels] float16, ``framing`` what of the film that is, and
    ``overview`` the film whole; empty and None when ``view`` is None; then ``code`` says why.
    ``patient_id`` is that of a film that could not be read, where its header could. ``mask``: packed
    bits of the image's bone, empty where none is given; ``regions``: place and code of each that
    belongs to the film, no code: used.
    """

    code: str = ""
    patient_id: str = field(default="", repr=False)
    words: tuple[Word, ...] = field(default=(), repr=False)
    film: Film | None = field(default=None, repr=False)
    view: str | None = None
    image: bytes = field(default=b"", repr=False)
    overview: bytes = field(default=b"", repr=False)
    mask: bytes = field(default=b"", repr=False)
    framing: Framing | None = None
    regions: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    crops: tuple[ReadCrop, ...] = ()


def encode_read(read: ReadFilm) -> bytes:
    """The bytes of a result: length of a JSON head, the head, images and masks one after another."""
    parts = [read.image, read.overview, read.mask]
    parts += [part for crop in read.crops for part in (crop.image, crop.mask)]
    told = told_of(read) | {
        "crops": [{"unit": crop.unit, "framing": asdict(crop.framing)} for crop in read.crops],
        "sizes": [len(part) for part in parts],
    }
    head = json.dumps(told).encode()
    return len(head).to_bytes(_HEAD_BYTES, "big") + head + b"".join(parts)


def decode_read(data: bytes) -> ReadFilm:
    """The result in ``encode_read``'s bytes.

    Raises:
        ValueError: not such bytes, or values of another kind.
    """
    try:
        end = _HEAD_BYTES + int.from_bytes(data[:_HEAD_BYTES], "big")
        told = json.loads(data[_HEAD_BYTES:end])
        image, overview, mask, *others = _cut(data[end:], told.pop("sizes"))
        crops = tuple(
            ReadCrop(unit=_text(crop["unit"]), image=own, mask=bone, framing=_framing(crop["framing"]))
            for crop, own, bone in zip(told.pop("crops"), others[::2], others[1::2], strict=True)
        )
        return read_of(told, image=image, overview=overview, mask=mask, crops=crops)
    except (KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise ValueError(f"no result of a film: {type(error).__name__}") from None


def told_of(read: ReadFilm) -> dict[str, Any]:
    """All of a result but images and crops, as JSON values."""
    return {
        "code": read.code,
        "patient_id": read.patient_id,
        "words": [(word.attribute, word.text, word.terms) for word in read.words],
        "view": read.view,
        "film": _told_film(read.film) if read.film else None,
        "framing": asdict(read.framing) if read.framing else None,
        "regions": read.regions,
    }


def read_of(
    told: dict[str, Any], *, image: bytes, overview: bytes, mask: bytes, crops: tuple[ReadCrop, ...]
) -> ReadFilm:
    """The result of ``told_of``'s values and its images; raises TypeError at another kind of value."""
    return ReadFilm(
        code=_text(told["code"]),
        patient_id=_text(told["patient_id"]),
        words=tuple(
            Word(_text(name), _text(text), tuple(map(_text, terms)))
            for name, text, terms in told["words"]
        ),
        film=_film_of(told["film"]),
        view=None if told["view"] is None else _text(told["view"]),
        image=image,
        overview=overview,
        mask=mask,
        framing=None if told["framing"] is None else _framing(told["framing"]),
        regions=tuple((_text(place), _text(code)) for place, code in told["regions"]),
        crops=crops,
    )


def _told_film(film: Film) -> dict[str, object]:
    """A film as JSON values, without its pixels."""
    kept = {name: value for name, value in vars(film).items() if name != "picture"}
    return kept | {"acquired": film.acquired.isoformat() if film.acquired else None}


def _film_of(told: dict[str, Any] | None) -> Film | None:
    if told is None:
        return None
    day, spacing, side = told["acquired"], told["pixel_mm"], told["laterality"]
    if side not in (None, "L", "R", "B"):
        raise TypeError
    return Film(
        **{name: _text(told[name]) for name in _TEXTS},
        picture=NO_PICTURE,
        laterality=side,
        words={_text(name): _text(text) for name, text in told["words"].items()},
        has_two_sides=told["has_two_sides"] is True,
        is_inverted=told["is_inverted"] is True,
        acquired=None if day is None else date.fromisoformat(day),
        pixel_mm=None if spacing is None else (float(spacing[0]), float(spacing[1])),
    )


def _framing(told: dict[str, Any]) -> Framing:
    framing = framing_of(told)
    if framing is None:
        raise TypeError
    numbers = (*framing.window, *framing.shape, framing.exposed, framing.confidence)
    if not all(type(number) in (int, float) for number in (*numbers, framing.window_exposed)):
        raise TypeError
    if not all(type(text) is str for text in (*framing.changes, *framing.flags)):
        raise TypeError
    return framing


def _text(value: object) -> str:
    if type(value) is not str:
        raise TypeError
    return value


def _cut(data: bytes, sizes: list[int]) -> list[bytes]:
    """Bytes cut into parts of these sizes, which must be all of them."""
    ends = [0]
    for size in sizes:
        if type(size) is not int or size < 0:
            raise TypeError
        ends.append(ends[-1] + size)
    if ends[-1] != len(data):
        raise ValueError("images are missing or left over")
    return [data[start:end] for start, end in pairwise(ends)]
