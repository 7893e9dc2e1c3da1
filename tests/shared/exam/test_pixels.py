"""The one preprocessing, with expectations computed by hand."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.exam.pixels import is_mirrored, normalise, resize_area


@pytest.fixture
def film() -> np.ndarray:
    return np.random.default_rng(3).normal(1000, 200, (150, 90)).astype(np.float32)


def test_area_resize_is_the_mean_of_what_each_pixel_covers():
    pixels = np.array([[1, 3, 5, 7], [5, 7, 9, 11]], dtype=np.float32)
    assert resize_area(pixels, 2).tolist() == [[4, 8]]


def test_area_resize_shares_a_pixel_that_two_cells_cover():
    # 3 → 2 cells of 1.5: (1·a + .5·b)/1.5 and (.5·b + 1·c)/1.5
    column = np.array([[0.0], [3.0], [9.0]], dtype=np.float32)
    assert np.allclose(resize_area(column, 2)[:, 0], [1.0, 7.0])


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 40))
@settings(max_examples=50, deadline=None)
def test_area_resize_keeps_a_constant(height, width, edge):
    assert np.allclose(resize_area(np.full((height, width), 7, np.float32), edge), 7)


def overlaps(n_in: int, n_out: int) -> np.ndarray:
    """[n_out, n_in]: which share of each new cell an old one covers."""
    starts, olds = np.arange(n_out)[:, None] * n_in / n_out, np.arange(n_in)
    shared = np.minimum(starts + n_in / n_out, olds + 1) - np.maximum(starts, olds)
    return shared.clip(0) * n_out / n_in


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 80), st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_area_resize_is_the_product_with_the_shares_of_each_cell(height, width, edge, seed):
    pixels = np.random.default_rng(seed).normal(1000, 300, (height, width)).astype(np.float32)
    small = resize_area(pixels, edge)
    expected = overlaps(height, small.shape[0]) @ pixels @ overlaps(width, small.shape[1]).T
    assert np.allclose(small, expected, rtol=1e-6)
    whole = pixels.round()
    exact = overlaps(height, small.shape[0]) @ whole @ overlaps(width, small.shape[1]).T
    assert np.allclose(resize_area(whole, edge), exact, rtol=1e-7)


def test_area_resize_of_many_rows_to_one_pixel_keeps_its_precision():
    tall = np.random.default_rng(8).normal(1000, 300, (60_000, 2)).astype(np.float32)
    assert np.allclose(resize_area(tall, 1), tall.mean(dtype=np.float64), rtol=1e-12)


def test_area_resize_has_the_same_bits_whatever_the_number_of_threads():
    script = (
        "import sys, numpy; from shared.exam.pixels import resize_area;"
        "film = numpy.random.default_rng(3).normal(1000, 200, (1501, 903)).astype(numpy.float32);"
        "sys.stdout.buffer.write(resize_area(film, 128).tobytes())"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", script],
            env=os.environ | {"OPENBLAS_NUM_THREADS": n, "OMP_NUM_THREADS": n},
            capture_output=True,
            check=True,
        ).stdout
        for n in ("1", "2", "7")
    }
    assert len(outputs) == 1
    assert len(outputs.pop()) == 128 * 77 * 8


def test_gain_and_offset_of_the_detector_change_nothing(film):
    assert np.allclose(normalise(film, 64), normalise(film * 3 + 500, 64), atol=1e-4)


def test_inverted_film_is_one_minus_the_film(film):
    square = film[:90]
    assert np.allclose(normalise(-square, 64), 1 - normalise(square, 64), atol=1e-5)


def test_values_are_clipped_at_the_percentiles(film):
    image = normalise(film[:90], 64)
    assert image.dtype == np.float32
    assert image.min() == 0
    assert image.max() == 1
    assert np.mean(image == 0) == pytest.approx(0.01, abs=0.002)


def test_one_hot_pixel_does_not_darken_the_film(film):
    hot = film.copy()
    hot[70, 40] = 1e6
    assert np.abs(normalise(hot, 64) - normalise(film, 64)).mean() < 0.02


def test_shorter_edge_is_padded_evenly_with_zero(film):
    image = normalise(film, 100)  # 150 × 90 → 100 × 60 and 20 columns each side
    assert image.shape == (100, 100)
    assert not image[:, :20].any()
    assert not image[:, 80:].any()
    assert image[:, 20].any()
    assert image[:, 79].any()


def test_right_films_are_mirrored_and_others_are_not(film):
    assert [is_mirrored(side) for side in ("R", "L", "B", None)] == [True, False, False, False]
    assert np.allclose(normalise(film, 64, mirror=True), normalise(film[:, ::-1], 64), atol=1e-5)


@pytest.mark.parametrize("value", [0, 5, 1234.567, -3000.1])
def test_blank_film_becomes_zeros(value):
    assert not normalise(np.full((301, 277), value, np.float32), 128).any()
