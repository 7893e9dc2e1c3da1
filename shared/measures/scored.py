"""Scored patients, as measures take them, and what a measure can do. Imports the contract of sums.

Legend: n patients · m cells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from shared.sums.contract import Floats, State, Sum
from shared.sums.estimate import Estimate


@dataclass(frozen=True)
class Scored:
    """One score and one label per patient.

    Shapes: output [n], the predicted target in its unit or the positive class's probability; label [n],
        the target in its unit, or 1 for the positive class and 0 for any other; NaN: unlabelled.
    """

    output: Floats
    label: Floats

    def __len__(self) -> int:
        """Number of patients."""
        return len(self.label)

    def select(self, indices: Sequence[int], /) -> Scored:
        """The patients at ``indices``, in that order."""
        rows = np.asarray(indices, dtype=np.intp)
        return Scored(self.output[rows], self.label[rows])


class Measure(Sum[Scored], Protocol):
    """One sum over scored patients, and the figures that are read from its total."""

    def read(self, total: Floats, *, sd: float, minimum_cell: int) -> Mapping[str, Estimate]:
        """Figures by name, each with its interval, from a total [m].

        Args:
            total: of one site, or pooled.
            sd: standard deviation of the noise in each cell; 0 in a governed release.
            minimum_cell: fewest patients from whom a figure is shown.
        """
        ...

    def suppress(self, total: Floats, minimum_cell: int) -> Floats:
        """An exact total that may leave: no cell of it from fewer patients than ``minimum_cell``.

        Raises:
            PolicyError: it cannot be brought to that.
        """
        ...


def start_of_measure() -> State:
    """The state of a measure, which needs none."""
    return State(np.zeros(0))
