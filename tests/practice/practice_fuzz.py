"""Damaged and odd inputs by the hundred: every one from a seed, so that each can be made again."""

from __future__ import annotations

import io
import json
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pydicom
from pydicom import Dataset, config, dcmread
from pydicom.uid import UID

from client.intake.decode import DECODERS
from client.intake.dicom import ALLOWED

HOSTILE = (
    "", " ", "\0", "A\0B", "\n\r\t", "../../etc/passwd", "%s%n{0}{__class__}", "'; DROP TABLE dxa; --",
    "=cmd|' /C calc'!A0", "@SUM(1+1)", "\u202e\u0007", "Ж" * 64, "\U0001f9b4" * 40, "x" * 70_000,
    "\x1b[31m", "NaN", "Inf", "-Infinity", "1e999", "-0", "0x10", "1_000", "٣", "1,5", "1.5.5",
    "99991231", "00000000", "20201399", "2.25." + "9" * 90,
)  # fmt: skip
ODD_NUMBERS = (0, 1, 2, 3, 7, 8, 12, 15, 16, 17, 24, 32, 64, 255, 4096, 32768, 65535)
NUMBERS = ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
           "SamplesPerPixel")  # fmt: skip
TEXTS = tuple(
    name for name in ALLOWED if name not in (*NUMBERS, "PixelData") and not name.endswith("Sequence")
)
Random = np.random.Generator


def installed_dicom_files() -> list[Path]:
    """Every data file that came with pydicom; nothing is fetched."""
    root = Path(pydicom.__file__).parent / "data"
    return sorted(path for path in root.rglob("*") if path.is_file() and path.suffix[:3] != ".py")


def damaged_film(data: bytes, rng: Random) -> bytes:
    """One film with one kind of damage."""
    return FILM_DAMAGES[rng.integers(len(FILM_DAMAGES))](data, rng)


def _truncate(data: bytes, rng: Random) -> bytes:
    return data[: rng.integers(len(data))]


def _flip(data: bytes, rng: Random) -> bytes:
    changed = bytearray(data)
    for at in rng.integers(
        0, len(data) if rng.random() < 0.5 else min(1500, len(data)), rng.integers(1, 40)
    ):
        changed[at] = rng.integers(256)
    return bytes(changed)


def _cut_out(data: bytes, rng: Random) -> bytes:
    at = rng.integers(len(data))
    return data[:at] + data[at + rng.integers(1, 64) :]


def _insert(data: bytes, rng: Random) -> bytes:
    at = rng.integers(132, len(data))
    return data[:at] + rng.bytes(rng.integers(1, 64)) + data[at:]


def _wrong_length(data: bytes, rng: Random) -> bytes:
    """The length of one element, where explicit VR shows one."""
    vrs = (b"UI", b"CS", b"LO", b"DA", b"DS", b"US", b"SQ", b"OW", b"OB", b"SH", b"PN", b"IS")
    places = [at for at in range(132, min(len(data), 3000)) if data[at : at + 2] in vrs]
    if not places:
        return _flip(data, rng)
    at = places[rng.integers(len(places))]
    changed = bytearray(data)
    if data[at : at + 2] in (b"SQ", b"OW", b"OB"):
        lengths = (0, 1, 2**31, 2**32 - 2, 2**32 - 1)
        changed[at + 4 : at + 8] = struct.pack("<I", lengths[rng.integers(5)])
    else:
        changed[at + 2 : at + 4] = struct.pack("<H", (0, 1, 7, 4096, 65535)[rng.integers(5)])
    return bytes(changed)


def _edited(data: bytes, edit: Callable[[Dataset], None]) -> bytes:
    """A film changed by attribute; one that cannot be written stays as it was, cut in half."""
    film = dcmread(io.BytesIO(data))
    try:
        with warnings.catch_warnings(), config.disable_value_validation():
            warnings.simplefilter("ignore")
            edit(film)
            stream = io.BytesIO()
            film.save_as(stream)
        return stream.getvalue()
    except Exception:  # noqa: BLE001 - some damages cannot be written by a sound writer
        return data[: len(data) // 2]


def _without_tag(data: bytes, rng: Random) -> bytes:
    name = ALLOWED[rng.integers(len(ALLOWED))]

    def edit(film: Dataset) -> None:
        if name in film:
            delattr(film, name)

    return _edited(data, edit)


def _absurd_number(data: bytes, rng: Random) -> bytes:
    name, number = NUMBERS[rng.integers(len(NUMBERS))], ODD_NUMBERS[rng.integers(len(ODD_NUMBERS))]
    return _edited(data, lambda film: setattr(film, name, int(number)))


def _hostile_text(data: bytes, rng: Random) -> bytes:
    name, text = TEXTS[rng.integers(len(TEXTS))], HOSTILE[rng.integers(len(HOSTILE))]

    def edit(film: Dataset) -> None:
        pair = "Spacing" in name
        film[name] = pydicom.DataElement(pydicom.tag.Tag(name), "UN", b"")
        film[name].VR = "LO"
        film[name].value = [text, text] if pair else text

    return _edited(data, edit)


def _wrong_syntax(data: bytes, rng: Random) -> bytes:
    syntaxes = [*DECODERS, "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.102", "1.2.3", ""]
    uid = syntaxes[rng.integers(len(syntaxes))]
    start = data.find(b"1.2.840.10008.1.2", 132)  # the value in the meta group, kept at its length
    end = data.find(b"\x02\x00", start)
    return data[:start] + uid.encode()[: end - start].ljust(end - start, b"\0") + data[end:]


def _huge_code_stream(data: bytes, rng: Random) -> bytes:
    """Sizes inside the code stream, not in the header: JPEG 2000 SIZ, JPEG SOF."""
    changed = bytearray(data)
    for marker, at, form in (
        (b"\xff\x4f\xff\x51", 8, ">II"),
        (b"\xff\xc3", 5, ">HH"),
        (b"\xff\xf7", 5, ">HH"),
    ):
        start = data.find(marker)
        if start >= 0:
            big = 2 ** int(rng.integers(8, 31 if form == ">II" else 16))
            changed[start + at : start + at + struct.calcsize(form)] = struct.pack(form, big, big)
    return bytes(changed)


def deflated_bomb(data: bytes, *, n_blocks: int) -> bytes:
    """A deflated film that inflates to 2 MiB of zeros per block."""

    def edit(film: Dataset) -> None:
        film.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.1.99")

    small = _edited(data, edit)
    start = 144 + struct.unpack("<I", small[140:144])[0] if len(small) > 144 else 0
    return small[:start] + _ZEROS * n_blocks


def _deflate_bomb(data: bytes, rng: Random) -> bytes:
    n_blocks = int(rng.integers(1, 8)) if rng.random() < 0.8 else 300
    return deflated_bomb(data, n_blocks=n_blocks)


def _deflated_zeros() -> bytes:
    """2 MiB of zeros, deflated so that it can be repeated (RFC 1951 3.2.3)."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return squeeze.compress(bytes(2**21)) + squeeze.flush(zlib.Z_FULL_FLUSH)


_ZEROS = _deflated_zeros()


def _deep(data: bytes, rng: Random) -> bytes:
    """Thousands of sequences inside each other, of undefined length."""
    open_item = b"\x08\x00\x18\x22SQ\x00\x00\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    return data[:400] + open_item * int(rng.integers(100, 20_000)) + data[400:]


def _no_dicom(data: bytes, rng: Random) -> bytes:
    others = (b"", b"\0", b"\0" * 128 + b"DICM", b"\x89PNG\r\n\x1a\n", b"PK\x03\x04", b"\x1f\x8b\x08",
              b"<html>", b"%PDF-1.4", b"\0" * 5000)  # fmt: skip
    return others[rng.integers(len(others))] + (rng.bytes(300) if rng.random() < 0.5 else b"")


FILM_DAMAGES = (
    _truncate, _flip, _flip, _cut_out, _insert, _wrong_length, _without_tag, _absurd_number,
    _hostile_text, _hostile_text, _wrong_syntax, _huge_code_stream, _deflate_bomb, _deep, _no_dicom,
)  # fmt: skip


def damaged_csv(text: str, rng: Random) -> bytes:
    """One clinical CSV with one kind of damage."""
    lines = text.splitlines()
    pick = int(rng.integers(1, len(lines)))
    cells = lines[pick].split(";")
    spot = int(rng.integers(len(cells)))
    kind = rng.integers(10)
    if kind == 0:
        return text.encode(("utf-16", "latin-1", "utf-32", "cp037")[rng.integers(4)], "replace")
    if kind == 1:
        return _flip(text.encode(), rng)
    if kind == 2:
        return _truncate(text.encode(), rng)
    if kind == 3:
        lines.insert(pick, lines[int(rng.integers(len(lines)))])
    elif kind == 4:
        lines[pick] = lines[pick].replace(",", ".").replace("2", "-", 1)
    elif kind == 5:
        lines[0] = ";".join(rng.permutation(lines[0].split(";"))[: int(rng.integers(1, 15))])
    elif kind == 6:
        lines[pick] += ";" * int(rng.integers(1, 5000))
    elif kind == 7:
        lines[pick] = '"' + lines[pick]
    else:
        cells[spot] = HOSTILE[rng.integers(len(HOSTILE))]
        lines[pick] = ";".join(cells)
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def damaged_parquet(text: str, rng: Random) -> bytes:
    """The table as Parquet: of wrong types, endless, or with changed bytes."""
    header, *lines = [line.split(";") for line in text.splitlines()]
    columns: dict[str, object] = {
        name: [line[index] for line in lines] for index, name in enumerate(header)
    }
    odd = header[int(rng.integers(len(header)))]
    n_rows = len(lines)
    values: list[Callable[[], object]] = [
        lambda: pa.nulls(n_rows),
        lambda: [float("nan")] * n_rows,
        lambda: [float("inf")] * n_rows,
        lambda: [[1, 2]] * n_rows,
        lambda: [{"a": 1}] * n_rows,
        lambda: [b"\xff\xfe"] * n_rows,
        lambda: pa.array([2**62] * n_rows, pa.timestamp("us")),
        lambda: pa.array([10**15] * n_rows, pa.date64()) if rng.random() < 0 else [True] * n_rows,
        lambda: [HOSTILE[int(rng.integers(len(HOSTILE)))]] * n_rows,
    ]
    columns[odd] = values[int(rng.integers(len(values)))]()
    stream = io.BytesIO()
    pq.write_table(pa.table(columns), stream, compression=("snappy", "zstd", "none")[rng.integers(3)])
    data = stream.getvalue()
    if rng.random() < 0.6:
        return (_flip, _truncate, _cut_out)[rng.integers(3)](data, rng)
    return data


def damaged_bundle(bundle: dict[str, object], rng: Random) -> bytes:
    """A FHIR bundle in which some nodes are something else, or the bytes are."""
    changed = deepcopy(bundle)
    for _ in range(int(rng.integers(1, 6))):
        node: object = changed
        while True:
            if not isinstance(node, dict | list) or not node:
                break
            keys = list(node) if isinstance(node, dict) else list(range(len(node)))
            key = keys[int(rng.integers(len(keys)))]
            if not isinstance(node[key], dict | list) or rng.random() < 0.15:
                junk = (None, 7, -1.5, 1e308, True, [], {}, [[]], "x", *HOSTILE)
                node[key] = junk[int(rng.integers(len(junk)))]
                break
            node = node[key]
    data = json.dumps(changed).encode()
    if rng.random() < 0.3:
        return (_flip, _truncate, _cut_out)[rng.integers(3)](data, rng)
    if rng.random() < 0.05:
        return b"[" * 100_000
    return data


def seeds(seed: int, n: int) -> Iterator[Random]:
    """One generator per input."""
    yield from (np.random.default_rng([seed, number]) for number in range(n))
