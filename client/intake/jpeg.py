"""What a JPEG stream says of itself, and whether a lossless one holds exactly its pixels.

A decoder fills what a damaged stream does not give with guesses. In a lossless stream (ITU-T T.81
annex H) each difference of neighbours takes the bits of its code and of its size, so that the pixels
tell where every row must begin and where the stream must end. Imports numpy only.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

END = b"\xff\xd9"  # EOI of JPEG (T.81 B.1.1.3) and EOC of JPEG 2000 (T.800 A.4.4)
BASELINE, EXTENDED, LOSSLESS, JPEG_LS = 0xC0, 0xC1, 0xC3, 0xF7  # markers of a frame
_HUFFMAN_TABLES, _SCAN, _RESTART_INTERVAL = 0xC4, 0xDA, 0xDD
_N_CATEGORIES = 17  # of the size of a difference modulo 2^16 (T.81 table H.2)
_BAND = 128  # rows looked at together: what is made of them stays in the cache

Code = tuple[int, int]  # bits, and how many


@dataclass(frozen=True, kw_only=True)
class JpegHeader:
    """What stands before the data of a greyscale stream of one scan.

    Attributes:
        process: the marker of its frame.
        shape: rows, columns.
        bits: precision of a sample.
        codes: the Huffman code of each size category that has one.
        predictor: how a lossless sample is foretold, 1 by its left neighbour.
        is_plain: neither restart intervals nor a point transform.
        data: where the entropy-coded data begin.
    """

    process: int
    shape: tuple[int, int]
    bits: int
    codes: dict[int, Code]
    predictor: int
    is_plain: bool
    data: int


def read_header(stream: bytes) -> JpegHeader:
    """The segments before the data (T.81 B.2, T.87 C.2).

    Raises:
        ValueError: it is not a greyscale stream of one scan.
        struct.error: a segment is cut off.
    """
    tables: dict[int, dict[int, Code]] = {}
    frame, restart = (0, 0, 0, 0, 0), 0
    for marker, content, end in _segments(stream):
        if marker in (BASELINE, EXTENDED, LOSSLESS, JPEG_LS):
            frame = (marker, *struct.unpack_from(">BHHB", content))
        elif marker == _HUFFMAN_TABLES:
            tables |= dict(_read_tables(content))
        elif marker == _RESTART_INTERVAL:
            [restart] = struct.unpack(">H", content)
        elif marker == _SCAN:
            process, bits, rows, columns, n_components = frame
            n_scanned, _, table, predictor, _, transform = struct.unpack(">6B", content)
            if n_components == n_scanned == 1:
                return JpegHeader(
                    process=process,
                    shape=(rows, columns),
                    bits=bits,
                    codes=tables.get(table >> 4, {}),
                    predictor=predictor,
                    is_plain=restart == transform == 0,
                    data=end,
                )
    raise ValueError("must be a greyscale JPEG of one scan")


def holds_exactly(stream: bytes, header: JpegHeader, pixels: NDArray[np.uint16]) -> bool:
    """Whether every row begins where the rows before it end, and the last one ends with the stream.

    Args:
        stream: plain and lossless, its samples foretold by their left neighbours.
        header: what it says of itself.
        pixels: [h, w], what was made of it.
    """
    data = np.frombuffer(stream[header.data : stream.rindex(END)] + bytes(3), dtype=np.uint8)
    after = np.flatnonzero(data[:-4] == 0xFF) + 1
    stuffed = after[data[after] == 0]  # a zero follows each data byte of ones (T.81 B.1.1.5)
    table = [header.codes.get(category, (0, 0)) for category in range(_N_CATEGORIES)]
    code, n_bits = np.array(table, dtype=np.int64).T
    size = np.arange(_N_CATEGORIES) % 16  # after the code of 16 no bits of size follow
    begins, first = _rows_in_stream(pixels, header.bits, n_bits + size)
    if not 0 <= 8 * (len(data) - 3 - len(stuffed)) - begins[-1] < 8:
        return False
    at = begins[:-1]
    unstuffed = (at >> 3)[:, None] + np.arange(3)
    places = unstuffed + np.searchsorted(stuffed - np.arange(len(stuffed)), unstuffed, side="right")
    window = data[places] @ np.array([1 << 16, 1 << 8, 1])  # 24 bits from where each row begins
    found = window >> (24 - (at & 7) - n_bits[first]) & ((1 << n_bits[first]) - 1)
    return bool((n_bits[first] > 0).all() and (found == code[first]).all())


def _rows_in_stream(
    pixels: NDArray[np.uint16], bits: int, cost: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The bit at which each row and the end must be [h + 1], and each row's first category [h].

    The first sample is foretold by the middle of the range, the first of a row by its upper neighbour.
    """
    categories = _categories()
    costs = cost.astype(np.uint8)[categories]  # by difference modulo 2^16
    upper = np.concatenate([[np.uint16(1 << (bits - 1))], pixels[:-1, 0]])
    first = pixels[:, 0] - upper  # modulo 2^16
    needed = costs[first].astype(np.int64)
    for row in range(0, len(pixels), _BAND):
        band = pixels[row : row + _BAND]
        differences = band[:, 1:] - band[:, :-1]
        taken = np.take(costs, differences, mode="clip")  # "clip" clips nothing, and is twice as fast
        needed[row : row + _BAND] += taken.sum(axis=1, dtype=np.uint32)
    return np.concatenate([[0], np.cumsum(needed)]), categories[first].astype(np.int64)


def _categories() -> NDArray[np.uint8]:
    """The number of bits of each difference's magnitude, by the difference modulo 2^16."""
    difference = np.arange(2**16)
    _, exponent = np.frexp(np.minimum(difference, 2**16 - difference))
    return exponent.astype(np.uint8)


def _segments(stream: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Marker, content and end of each segment up to the scan's header."""
    at = 2
    while stream[at : at + 1] == b"\xff":
        marker, length = struct.unpack_from(">BH", stream, at + 1)
        content, at = stream[at + 4 : at + 2 + length], at + 2 + length
        yield marker, content, at
        if marker == _SCAN:
            return


def _read_tables(content: bytes) -> Iterator[tuple[int, dict[int, Code]]]:
    """Number and codes of each table of a DHT segment; codes count upwards (T.81 B.2.4.2, annex C)."""
    at = 0
    while at + 17 <= len(content):
        number, n_codes = content[at], content[at + 1 : at + 17]
        symbols = iter(content[at + 17 : at + 17 + sum(n_codes)])
        at += 17 + sum(n_codes)
        codes, code = {}, 0
        for n_bits, n in enumerate(n_codes, 1):
            code <<= 1
            for _, symbol in zip(range(n), symbols, strict=False):
                codes[symbol] = code, n_bits
                code += 1
        yield number, codes
