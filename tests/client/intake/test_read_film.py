"""A result between processes: what was sent comes back, and anything else is refused as data."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from client.intake.dicom import Film
from client.intake.film_words import Word
from client.intake.read_film import NO_PICTURE, ReadCrop, ReadFilm, decode_read, encode_read
from shared.exam.pixels import Framing

FRAMING = Framing(
    window=(0.0, 1.5, 8.0, 9.5), exposed=0.5, confidence=1.0, pixel_mm=0.2, shape=(8, 9), flags=("x",)
)
FILM = Film(
    picture=NO_PICTURE,
    pixel_mm=(0.2, 0.25),
    spacing_source="PixelSpacing",
    laterality="L",
    has_two_sides=True,
    words={"BodyPartExamined": "HIP"},
    photometric="MONOCHROME2",
    is_inverted=False,
    manufacturer="maker",
    presentation_intent="FOR PRESENTATION",
    transfer_syntax="1.2.840.10008.1.2.1",
    acquired=date(2024, 2, 29),
    patient_id="7",
    issuer="",
    sop_instance_uid="1.2.3",
)
WHOLE = ReadFilm(
    patient_id="7",
    words=(Word("BodyPartExamined", "HIP", ("hip",)), Word("SeriesDescription", "\udcff")),
    film=FILM,
    view="hip_ap",
    image=b"\0" * 8,
    overview=b"o",
    mask=b"m",
    framing=FRAMING,
    regions=(("masks/1.png", ""),),
    crops=(ReadCrop(unit="L1", image=b"abc", mask=b"", framing=FRAMING),),
)


@pytest.mark.parametrize(
    "read",
    [
        WHOLE,
        ReadFilm(),
        ReadFilm(code="intake.not-dicom", patient_id="7"),
        replace(WHOLE, film=replace(FILM, acquired=None, pixel_mm=None, laterality=None), crops=()),
    ],
)
def test_a_result_comes_back_as_it_was_sent(read: ReadFilm) -> None:
    assert decode_read(encode_read(read)) == read


def changed(**values: object) -> bytes:
    """A result whose head says something else."""
    data = encode_read(WHOLE)
    end = 4 + int.from_bytes(data[:4], "big")
    head = json.dumps(json.loads(data[4:end]) | values).encode()
    return len(head).to_bytes(4, "big") + head + data[end:]


class Acting:
    """Makes a folder when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.mkdir, (Path("acted"),)  # type: ignore[return-value]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0\0\0\2{}",
        b"\xff\xff\xff\xff",
        encode_read(WHOLE)[:-1],
        encode_read(WHOLE) + b"x",
        pickle.dumps(WHOLE),
        pickle.dumps(Acting()),
        changed(code=7),
        changed(patient_id=None),
        changed(view=["hip_ap"]),
        changed(words=[["a", "b", [1]]]),
        changed(regions=[["a"]]),
        changed(film={}),
        changed(film="hip"),
        changed(framing={"window": 1}),
        changed(framing={"window": ["a", 0, 0, 0], "exposed": 1, "confidence": 1, "pixel_mm": None}),
        changed(sizes=[8, 1, 1, 3, 0, 0]),
        changed(sizes=[-8, 9, 1, 3, 0]),
        changed(sizes=[8, 1, 1, 3, True]),
        changed(crops=[]),
    ],
)
def test_bytes_that_are_no_result_or_hold_values_of_another_kind_are_refused(
    data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError):
        decode_read(data)
    assert list(tmp_path.iterdir()) == []
