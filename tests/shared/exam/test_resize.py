"""Means over areas, by hand and whatever the size."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from practice_threads import outputs_by_threads

from shared.exam.resize import average, even_edges


def shrunk(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    return average(pixels, even_edges(0, len(pixels), height), even_edges(0, pixels.shape[1], width))


def test_each_new_pixel_is_the_mean_of_what_it_covers():
    pixels = np.array([[1, 3, 5, 7], [5, 7, 9, 11]], dtype=np.float32)
    assert shrunk(pixels, 1, 2).tolist() == [[4, 8]]


def test_a_pixel_that_two_cells_cover_is_shared():
    # 3 → 2 cells of 1.5: (1·a + .5·b)/1.5 and (.5·b + 1·c)/1.5
    column = np.array([[0.0], [3.0], [9.0]], dtype=np.float32)
    assert np.allclose(shrunk(column, 2, 1)[:, 0], [1.0, 7.0])


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 40), st.integers(1, 40))
@settings(max_examples=50, deadline=None)
def test_a_constant_stays(height, width, rows, columns):
    assert np.allclose(shrunk(np.full((height, width), 7, np.float32), rows, columns), 7)


@given(st.integers(2, 40), st.integers(1, 12), st.floats(-10, 20), st.floats(0.5, 40))
@settings(max_examples=50, deadline=None)
def test_it_is_the_integral_over_the_picture_beyond_which_the_nearest_pixel_counts(n, m, low, length):
    column = np.random.default_rng(n).normal(size=(n, 1)).astype(np.float32)
    edges = even_edges(low, low + length, m)
    fine = np.arange(0, n, 1e-3) + 5e-4
    for part, (first, last) in zip(
        average(column, edges, np.array([0.0, 1.0]))[:, 0],
        pairwise(edges),
        strict=True,
    ):
        inside = fine[(fine >= first) & (fine < last)]
        if len(inside) > 50:
            assert part == np.float32(part)
            assert abs(part - column[inside.astype(int), 0].mean()) < 0.05
        elif last <= 0:
            assert part == column[0, 0]
        elif first >= n:
            assert part == column[-1, 0]


def test_many_rows_to_one_pixel_keep_their_precision():
    tall = np.random.default_rng(8).normal(1000, 300, (60_000, 2)).astype(np.float32)
    assert np.allclose(shrunk(tall, 1, 1), tall.mean(dtype=np.float64), rtol=1e-7)


def test_the_bits_are_the_same_whatever_the_number_of_threads():
    script = (
        "import sys, numpy; from shared.exam.resize import average, even_edges;"
        "film = numpy.random.default_rng(3).normal(1000, 200, (1501, 903)).astype(numpy.float32);"
        "small = average(film, even_edges(0, 1501, 128), even_edges(0, 903, 77));"
        "sys.stdout.buffer.write(small.tobytes())"
    )
    outputs = outputs_by_threads(script)
    assert len(outputs) == 1
    assert len(outputs.pop()) == 128 * 77 * 4
