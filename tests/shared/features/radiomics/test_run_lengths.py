"""Runs of one level along four directions, beside a search pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
from practice_radiomics import region_of

from shared.features.radiomics.run_lengths import find_runs, measure
from shared.features.radiomics.sizes import measure_sizes


def runs_pixel_by_pixel(levels: np.ndarray) -> list[tuple[int, int]]:
    """Level and length of each run in each direction: from every pixel that begins one."""
    h, w = levels.shape
    found = []
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        for y in range(h):
            for x in range(w):
                level = levels[y, x]
                before = (y - down, x - right)
                is_inside = 0 <= before[0] < h and 0 <= before[1] < w
                if level == 0 or (is_inside and levels[before] == level):
                    continue
                n = 0
                while 0 <= y + n * down < h and 0 <= x + n * right < w:
                    if levels[y + n * down, x + n * right] != level:
                        break
                    n += 1
                found.append((int(level), n))
    return found


@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (6, 1), (4, 9), (11, 3)])
def test_runs_are_those_found_pixel_by_pixel(shape: tuple[int, int]) -> None:
    levels = np.random.default_rng(4).integers(0, 3, shape)
    levels[0, 0] = 1
    pieces = np.array(runs_pixel_by_pixel(levels))
    n_pixels = 4 * int((levels > 0).sum())
    expected = measure_sizes(pieces[:, 0], pieces[:, 1], n_levels=2, n_pixels=n_pixels)
    assert measure(region_of(levels, n_levels=2)) == pytest.approx(expected)


def test_a_run_ends_where_the_region_does() -> None:
    levels, lengths = find_runs(np.array([2, 2, 0, 2, 1, 0]))
    assert list(zip(levels.tolist(), lengths.tolist(), strict=True)) == [(2, 2), (2, 1), (1, 1)]
