"""The two-sided object of one stage: what a site computes, and what the coordinator makes of totals.

A stage's settings say what is asked; a ``StageSum`` can do it. Both sides build it from the same plan
(``kinds.sum_of``), so that bound, noise and length cannot drift apart. Imports the contract of sums.

Legend: d numbers of a state · m cells of a total · s sites.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from shared.contract.capacity import capacity_of
from shared.contract.model_settings import ModelSettings
from shared.contract.plan import RosterEntry
from shared.contract.protocol import Vector
from shared.contract.stages import StageSettings, beside_exact_error
from shared.errors import ProtocolError
from shared.privacy.noise import DrawNormals
from shared.sums.contract import Floats, State, Sum
from shared.sums.lattice import from_lattice, spacing_of
from shared.sums.total import AnyOf, exact_total_of, noised, total_of
from shared.train.canaries import AuditRegister

# A site's true size is at most this many times the size that it declares in public.
CAPACITY_PER_DECLARED = 10
# SDs by which the norm of Gaussian noise may exceed its typical length σ·Δ·√m; never in practice.
_NOISE_SLACK = 10.0


@dataclass(frozen=True, kw_only=True)
class Bound:
    """What a total must be to leave: ``length`` finite numbers of a ``kind`` (``<f4`` or ``<f8``).

    ``norm_max``: its largest L2 norm, None where noise alone bounds it.
    ``suppress``: of exact numbers, (total, least patients of a cell, what was shown of these patients
    before) -> the total that may be shown. ``may_withhold``: whether numbers of it may be NaN.
    """

    length: int
    kind: str
    norm_max: float | None = None
    suppress: Callable[[Vector, int, Sequence[Vector]], Vector] | None = None
    may_withhold: bool = False


def require_alone(before: Sequence[Vector]) -> None:
    """Refuse an exact total of patients of whom something else that is exact was shown.

    Raises:
        PolicyError: something was.
    """
    if before:
        raise beside_exact_error()


@dataclass(frozen=True, kw_only=True)
class PromisedNoise:
    """The noise that an honest total holds: what anybody may hold a released one to.

    Attributes:
        row: how far one patient moves one sum of the total, in L2.
        sd: standard deviation of each number's noise where no patient is; 0: none is promised.
        fresh_sd: of the last of several sums in one message alone, which nothing of it follows.
        spacing: of the public lattice that numbers lie on; 0: they lie on none.
        parts: where each tensor, or block of columns, lies.
    """

    row: float
    sd: float
    fresh_sd: float
    spacing: float
    parts: Mapping[str, slice]


def noise_of_rows(
    *, bound: float, noise_multiplier: float, parts: Mapping[str, slice]
) -> PromisedNoise:
    """The noise of one sum of rows on their lattice (``total_with_noise``)."""
    sd = noise_multiplier * bound
    return PromisedNoise(row=bound, sd=sd, fresh_sd=sd, spacing=spacing_of(bound), parts=parts)


@dataclass(frozen=True)
class StageState:
    """A stage after some rounds: the public vector [d], and what the next ``advance`` alone needs."""

    round: int
    vector: Vector
    memory: Mapping[str, NDArray[Any]] = field(default_factory=dict)


class StageSum(Protocol):
    """One stage of one plan, ready to be asked."""

    @property
    def state_kind(self) -> str:
        """Type of a state's numbers, ``<f4`` or ``<f8``."""
        ...

    @property
    def state_largest(self) -> float:
        """Most that a number of a state may be, of either sign."""
        ...

    def start(self) -> StageState:
        """The state before the first round."""
        ...

    def state_length(self, round_number: int) -> int:
        """d, the length of the state that a round's request carries."""
        ...

    def bound(self, round_number: int) -> Bound:
        """What a site's total of a round must be."""
        ...

    def largest(self, round_number: int, *, declared_patients: int) -> float:
        """More than the norm of any honest total of a site that declares so many patients."""
        ...

    def promised(self, round_number: int, *, declared_patients: int) -> PromisedNoise:
        """The noise in an honest total of a site that declares so many patients."""
        ...

    def answer(
        self,
        vector: Vector,
        patients: object,
        *,
        round_number: int,
        declared_patients: int,
        draw_normals: DrawNormals,
        register: AuditRegister | None = None,
    ) -> Vector:
        """A site's total [m] of a round, noise included where the stage is private."""
        ...

    def advance(
        self, state: StageState, totals: Sequence[Vector], *, sites: Sequence[RosterEntry]
    ) -> StageState:
        """The state after a round, from the totals of the sites present, in roster order."""
        ...


def numbers_of(total: Vector, bound: Bound) -> Vector:
    """The numbers [≤ m] of a total that must be finite: all but those that may be withheld."""
    return total[~np.isnan(total)] if bound.may_withhold else total


def require_state(asked: StageSum, vector: Vector, *, round_number: int) -> None:
    """Refuse a state that could only fail, or break arithmetic, after somebody was charged.

    Args:
        asked: the sum that is to be asked at this state.
        vector: [d], as it arrived.
        round_number: of the stage, from 1 on.

    Raises:
        ProtocolError: not finite numbers of the sum's type, too large ones, or of another length.
    """
    length, kind = asked.state_length(round_number), asked.state_kind
    if vector.dtype != np.dtype(kind) or not np.isfinite(vector).all():
        raise ProtocolError("unsound-weights", f"the state of a request must be finite {kind} numbers")
    if vector.shape != (length,):
        raise ProtocolError("wrong-shape", f"the state must have {length} numbers, not {vector.size}")
    largest = asked.state_largest
    if vector.size and float(np.abs(vector).max()) > largest:
        raise ProtocolError(
            "weights-too-large",
            f"no number of a state may be beyond {largest:g}: no training of this plan reaches it",
            hint="the plan's caps say how large: weight_max a weight of a network, state_max a number "
            "of a learner's state",
        )


def places_of(settings: ModelSettings, stage: StageSettings, *, declared_patients: int) -> int:
    """Patients for whom a site of a declared size has work in a stage, whoever is there."""
    return capacity_of(settings.cohort.split, stage.patients, declared=declared_patients)


def total_with_noise(
    asked: Sum[AnyOf],
    state: State,
    patients: AnyOf,
    *,
    stage: StageSettings,
    round_number: int,
    places: int,
    draw_normals: DrawNormals,
) -> Floats:
    """A site's total [m] of rows, with the stage's noise on the lattice; exact where it is not ``dp``.

    Args:
        asked: the sum.
        state: it is asked at.
        patients: of this site.
        stage: its release class and noise.
        round_number: of the stage, from 1 on.
        places: as of ``total_of``.
        draw_normals: a ``NoiseStream``.
    """
    if stage.release_class != "dp":
        return exact_total_of(asked, state, patients, places=places)
    bound = asked.bound(state)
    total = noised(
        total_of(asked, state, patients, places=places),
        bound=bound,
        noise_multiplier=stage.noise_of(round_number),
        draw_normals=draw_normals,
    )
    return from_lattice(total, spacing=spacing_of(bound))


def largest_noised(*, bound: float, noise_multiplier: float, length: int, declared: int) -> float:
    """More than the norm of an honest noised sum: capacity · bound and a public radius of the noise."""
    radius = noise_multiplier * bound * (math.sqrt(length) + _NOISE_SLACK)
    return CAPACITY_PER_DECLARED * declared * bound + radius
