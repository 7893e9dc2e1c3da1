"""Chunks of one shape, integers, and noise on the same lattice."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from practice_tables import Numbers, some

from shared.privacy.noise import NoiseStream
from shared.sums.contract import Floats, State
from shared.sums.lattice import spacing_of
from shared.sums.total import exact_total_of, lattice_rows, noised, total_of


@dataclass(frozen=True)
class Plain:
    """Rows are the values; it notes the shapes that it was asked at."""

    seen: list[tuple[int, ...]] = field(default_factory=list)

    def start(self) -> State:
        return State(np.zeros(0))

    def shares(self) -> tuple[float, ...]:
        return (1.0,)

    def length(self, state: State) -> int:
        return 2

    def bound(self, state: State) -> float:
        return 1.5

    def rows(self, state: State, patients: Numbers) -> Floats:
        self.seen.append(patients.values.shape)
        return patients.values

    def advance(self, state: State, total: Floats, *, sd: float, n_declared: float) -> State:
        return State(total, 1)


@pytest.mark.parametrize("n", [1, 4, 5, 9])
def test_every_chunk_has_one_shape_however_many_patients_there_are(n: int) -> None:
    asked = Plain()
    total_of(asked, asked.start(), some(n), chunk=4)
    exact_total_of(asked, asked.start(), some(n), chunk=4)
    assert set(asked.seen) == {(4, 2)}


@pytest.mark.parametrize("n", [1, 4, 5, 9])
def test_there_are_as_many_chunks_as_places_need_whoever_is_there(n: int) -> None:
    asked, patients = Plain(), some(n)
    total = total_of(asked, asked.start(), patients, chunk=4, places=10)
    assert asked.seen == [(4, 2)] * 3
    assert np.array_equal(total, total_of(asked, asked.start(), patients, chunk=4))
    exact = exact_total_of(asked, asked.start(), patients, chunk=4, places=10)
    assert exact.tobytes() == exact_total_of(asked, asked.start(), patients, chunk=4).tobytes()
    rows = list(lattice_rows(asked, asked.start(), patients, chunk=4, places=10))
    assert sum(map(len, rows)) == n


@pytest.mark.parametrize("n", [0, 1, 4, 5, 9])
def test_a_total_is_the_truncated_rows_added_up(n: int) -> None:
    asked, patients = Plain(), some(n)
    expected = np.trunc(patients.values / 2.0**-30).astype(np.int64).sum(axis=0)
    assert np.array_equal(total_of(asked, asked.start(), patients, chunk=4), expected)
    assert sum(map(len, lattice_rows(asked, asked.start(), patients, chunk=4))) == n
    exact = exact_total_of(asked, asked.start(), patients, chunk=4)
    assert np.allclose(exact, patients.values.sum(axis=0), atol=1e-12)


def test_patients_who_are_alike_add_up_like_any_others() -> None:
    asked, patients = Plain(), some(3)
    rows = [total_of(asked, asked.start(), patients.select([index])) for index in range(3)]
    alike = total_of(asked, asked.start(), patients.select([0, 1, 0, 0, 2]))
    assert np.array_equal(alike, 3 * rows[0] + rows[1] + rows[2])


def test_no_row_passes_the_bound_even_if_the_sum_forgot_it() -> None:
    asked, patients = Plain(), Numbers(np.array([[300.0, 400.0], [np.nan, 1.0]]))
    total = total_of(asked, asked.start(), patients) * spacing_of(1.5)
    assert np.allclose(total, [0.9, 1.2], atol=1e-8)
    assert np.allclose(exact_total_of(asked, asked.start(), patients), [0.9, 1.2])


def test_noise_is_the_rounded_normals_in_units_of_the_lattice() -> None:
    total = np.array([10, -7])
    found = noised(
        total, bound=1.5, noise_multiplier=2.0, draw_normals=lambda n: np.array([0.5, -1.0])[:n]
    )
    assert (found - total).tolist() == [round(1.5 * 2**30), round(-3.0 * 2**30)]
    between = np.array([0.6, -0.6, 7.4, -7.4]) * spacing_of(1.5) / 3.0  # lattice steps of an SD of 3
    nearest = noised(
        np.zeros(4, dtype=np.int64), bound=1.5, noise_multiplier=2.0, draw_normals=lambda n: between[:n]
    )
    assert nearest.tolist() == [1, -1, 7, -7], "towards zero would be less noise than was promised"


def test_noise_of_the_operating_system_has_the_sd_that_was_asked() -> None:
    found = noised(
        np.zeros(40_000, dtype=np.int64), bound=0.5, noise_multiplier=3.0, draw_normals=NoiseStream()
    )
    assert np.std(found * spacing_of(0.5)) == pytest.approx(1.5, rel=0.03)
