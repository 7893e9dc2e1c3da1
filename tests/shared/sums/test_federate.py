"""A stage in one process: each site's noise adds up, and a sum's share sets its noise."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from practice_tables import Numbers, some

from shared.sums.contract import Floats, State
from shared.sums.federate import Noise, federate


@dataclass(frozen=True)
class Twice:
    """Two sums of unequal shares; it notes what it was told."""

    told: list[tuple[float, float]] = field(default_factory=list)

    def start(self) -> State:
        return State(np.zeros(2))

    def shares(self) -> tuple[float, ...]:
        return (0.2, 0.8)

    def length(self, state: State) -> int:
        return 2

    def bound(self, state: State) -> float:
        return 1.0 + state.sums_done

    def rows(self, state: State, patients: Numbers) -> Floats:
        return patients.values

    def advance(self, state: State, total: Floats, *, sd: float, n_declared: float) -> State:
        self.told.append((sd, n_declared))
        return State(state.vector + total, state.sums_done + 1)


def test_the_sd_is_that_of_all_sites_noise_at_the_sums_share() -> None:
    asked = Twice()
    federate(asked, [some(3), some(4)], n_declared=9, noise=Noise(0.5, lambda n: np.zeros(n)))
    # σ = 1/(μ·√share), times the bound, times √2 for two sites
    assert asked.told[0] == pytest.approx((2 / 0.2**0.5 * 2**0.5, 9))
    assert asked.told[1] == pytest.approx((2 / 0.8**0.5 * 2 * 2**0.5, 9))


def test_every_site_adds_its_own_noise() -> None:
    asked, nobody = Twice(), Numbers(np.zeros((0, 2)))
    state = federate(asked, [nobody] * 3, n_declared=9, noise=Noise(0.5, lambda n: np.ones(n)))
    expected = 3 * (2 / 0.2**0.5 * 1.0 + 2 / 0.8**0.5 * 2.0)
    assert state.vector.tolist() == pytest.approx([expected] * 2)


def test_without_noise_the_sd_is_zero_and_totals_are_exact() -> None:
    asked, patients = Twice(), some(7)
    state = federate(asked, [patients], n_declared=7)
    assert [sd for sd, _ in asked.told] == [0.0, 0.0]
    assert np.allclose(state.vector, 2 * patients.values.sum(axis=0), atol=1e-12)
