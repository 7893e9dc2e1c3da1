"""The contract of a sum: the one form in which anything about patients leaves a site.

A **sum** is one bounded row per patient, added up, with noise. Its bound and its rows stand in one
object that both sides hold, so that they cannot drift apart: the site adds rows, the coordinator takes
the noised total and advances the public state with it. First law: a patient's row is a function of that
patient's bytes and the public state alone, bit for bit, whoever else is there. A sum is pure: it knows
no gate, no message and no file. Imports nothing of the project.

Legend: n patients · m cells of a row · d numbers of a state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class State:
    """What is public after some sums, whole: saved after every sum, so that a crash loses nothing.

    Attributes:
        vector: [d], what a request carries to a site, and all that a row may depend on.
        sums_done: how many totals have been taken in; 0 before the first.
        memory: what ``advance`` alone needs of the sums before, by name; it is not sent.
    """

    vector: Floats
    sums_done: int = 0
    memory: Mapping[str, Floats] = field(default_factory=dict)


class Patients(Protocol):
    """Some patients, one row each in every array that they hold."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    def select(self, indices: Sequence[int], /) -> Self:
        """The patients at ``indices``, in that order; the same one may be asked for twice."""
        ...

    def filled(self, size: int, /) -> Self:
        """The same patients and after them, up to ``size``, stand-ins who have no data of anybody."""
        ...


AnyPatients = TypeVar("AnyPatients", bound=Patients, contravariant=True)


class Sum(Protocol[AnyPatients]):
    """What a stage asks of each site, once or several times, and what becomes of the totals.

    Every method is a function of its arguments and of the sum's public settings alone.
    """

    def start(self) -> State:
        """The public state before the first sum."""
        ...

    def shares(self) -> tuple[float, ...]:
        """Each sum's share of the stage's μ² = Σ 1/σ², one per sum, adding up to 1.

        The sum with share s has the noise multiplier σ = 1/(μ·√s). Sampled sums have equal shares.
        """
        ...

    def length(self, state: State) -> int:
        """m, the number of cells of the next sum."""
        ...

    def bound(self, state: State) -> float:
        """Largest L2 norm that a row of the next sum can have, whatever a patient's data are."""
        ...

    def rows(self, state: State, patients: AnyPatients) -> Floats:
        """One row per patient, [n, m]; a patient whose data are not finite has a row of zeros."""
        ...

    def advance(self, state: State, total: Floats, *, sd: float, n_declared: float) -> State:
        """The state after the next sum.

        Args:
            state: before it.
            total: [m], the noised sum over the patients of all sites.
            sd: standard deviation of the noise in each cell of ``total``; 0 without noise.
            n_declared: how many patients the sites declared publicly; never how many there are.
        """
        ...


class Learner(Sum[AnyPatients], Protocol[AnyPatients]):
    """A sum whose last state predicts."""

    def predict(self, state: State, patients: AnyPatients) -> Floats:
        """Outputs [n, o] of the last state: a number in standard units, or a probability per class."""
        ...
