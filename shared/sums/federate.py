"""A whole stage over sites in one process: every sum asked, added, noised at each site, taken in.

What a run does between charge and gate, without either; the published figures and the tests of learners
go this way. Imports the contract, the lattice and totals.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from shared.sums.contract import Floats, State, Sum
from shared.sums.lattice import from_lattice, spacing_of
from shared.sums.total import AnyOf, DrawNormals, exact_total_of, noised, total_of


@dataclass(frozen=True)
class Noise:
    """How loud a stage is: ``mu`` is that of all its sums together (Gaussian differential privacy)."""

    mu: float
    draw_normals: DrawNormals


def federate(
    asked: Sum[AnyOf], sites: Sequence[AnyOf], *, n_declared: float, noise: Noise | None = None
) -> State:
    """The state after every sum, each site with its own noise, or none.

    Args:
        asked: the sum.
        sites: their patients.
        n_declared: how many patients they declared together.
        noise: None: exact totals, no formal privacy.
    """
    state = asked.start()
    for share in asked.shares():
        total, sd = _ask(asked, state, sites, noise, share)
        state = asked.advance(state, total, sd=sd, n_declared=n_declared)
    return state


def _ask(
    asked: Sum[AnyOf], state: State, sites: Sequence[AnyOf], noise: Noise | None, share: float
) -> tuple[Floats, float]:
    """One total over all sites, and the SD of its noise."""
    if noise is None:
        exact = [exact_total_of(asked, state, patients) for patients in sites]
        return np.sum(exact, axis=0), 0.0
    bound = asked.bound(state)
    noise_multiplier = 1.0 / (noise.mu * math.sqrt(share))
    total = np.zeros(asked.length(state), dtype=np.int64)
    for patients in sites:
        total += noised(
            total_of(asked, state, patients),
            bound=bound,
            noise_multiplier=noise_multiplier,
            draw_normals=noise.draw_normals,
        )
    sd = noise_multiplier * bound * math.sqrt(len(sites))
    return from_lattice(total, spacing=spacing_of(bound)), sd
