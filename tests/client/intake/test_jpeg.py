"""Headers of streams, and a lossless stream held against its pixels, damaged in every place."""

from __future__ import annotations

import struct
from itertools import pairwise

import imagecodecs
import numpy as np
import pytest
from practice_streams import lossless_jpeg

from client.intake.jpeg import EXTENDED, LOSSLESS, holds_exactly, read_header


@pytest.fixture(scope="module")
def levels() -> np.ndarray:
    """[h, w] of 12 bits with a detector's noise."""
    ramp = np.add.outer(np.arange(64) * 20, np.arange(40) * 9)
    return (ramp + np.random.default_rng(2).integers(0, 40, ramp.shape)).astype(np.uint16)


def test_a_header_says_size_depth_and_process(levels):
    header = read_header(lossless_jpeg(levels, bits=12))
    # gdcm writes all bits that are allocated
    assert (header.process, header.shape, header.bits) == (LOSSLESS, (64, 40), 16)
    assert (header.predictor, header.is_plain) == (1, True)
    extended = imagecodecs.jpeg8_encode(levels, level=90, bitspersample=12)
    assert (read_header(extended).process, read_header(extended).shape) == (EXTENDED, (64, 40))


def test_codes_count_upwards_as_the_standard_draws_them(levels):
    # T.81 annex C: codes of one length follow each other, a longer one doubles what comes next
    codes = read_header(lossless_jpeg(levels, bits=12)).codes
    ordered = sorted(codes.values(), key=lambda code: (code[1], code[0]))
    for (bits, n), (more, n_more) in pairwise(ordered):
        assert more == (bits + 1) << (n_more - n)


@pytest.mark.parametrize("stream", [b"", b"\xff\xd8", b"\xff\xd8\xff\xd9", b"\xff\xd8\xff\xda\x00\x02"])
def test_what_has_no_header_is_refused(stream):
    with pytest.raises((ValueError, struct.error)):
        read_header(stream)


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_a_sound_stream_holds_exactly_its_pixels_and_no_others(levels, bits):
    levels = (levels.astype(np.int64) * 2**bits // 4096).astype(np.uint16)
    levels[:2, :2] = [[0, 2**bits - 1], [2**bits - 1, 0]]  # the largest differences
    stream = lossless_jpeg(levels, bits=bits)
    header = read_header(stream)
    assert holds_exactly(stream, header, levels)
    other = levels.copy()
    other[40, 20] ^= 1 << (bits - 2)
    assert not holds_exactly(stream, header, other)


def test_a_stream_that_was_cut_hit_or_blotted_out_no_longer_holds_what_is_made_of_it(levels):
    stream, rng = lossless_jpeg(levels, bits=12), np.random.default_rng(5)
    start = read_header(stream).data
    held = 0
    for number in range(60):
        at = int(rng.integers(start, len(stream) - 80))
        damaged = (
            stream[:at] + stream[at + 30 :],
            stream[:at] + bytes(40) + stream[at + 40 :],
            stream[:at] + rng.bytes(64) + stream[at + 64 :],
        )[number % 3]
        try:
            made = imagecodecs.jpeg8_decode(damaged)
        except RuntimeError:
            continue
        assert not np.array_equal(made, levels)
        held += holds_exactly(damaged, read_header(damaged), made)
    assert held <= 3  # by chance a hit may take as many bits as what it replaces
