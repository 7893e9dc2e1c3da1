"""A histogram of errors: how many patients are read within how much of their true value.

One cell per band of |prediction − target|, one-hot; the last band is open. Read as the median and the
90th percentile of the absolute error, and the share within each edge. Imports the contract of sums and
figures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from pydantic import BaseModel, Field, model_validator

from shared.errors import PolicyError, SettingsError
from shared.measures.figures import share_of, worth_showing
from shared.measures.scored import MeasureTask, Rule, Scored
from shared.strict import FROZEN
from shared.sums.contract import Floats
from shared.sums.estimate import Estimate


class ErrorsSettings(BaseModel):
    """Settings of the histogram of absolute errors.

    Attributes:
        edges: upper ends of its bands, rising, in the target's unit; public.
    """

    model_config = FROZEN

    kind: Literal["errors"]
    edges: tuple[float, ...] = Field(min_length=1, max_length=64)

    @model_validator(mode="after")
    def _edges_rise(self) -> ErrorsSettings:
        if any(high <= low for low, high in pairwise((0.0, *self.edges))):
            raise ValueError("edges must be above 0, each above the one before")
        return self


@dataclass(frozen=True)
class Errors:
    """Cells: patients whose absolute error is at most an edge and above the one before; the rest."""

    edges: tuple[float, ...]
    rule: Rule

    @classmethod
    def build(cls, settings: ErrorsSettings, task: MeasureTask) -> Errors:
        """The measure of a plan.

        Raises:
            SettingsError: classes are predicted, whose probabilities have no error in a unit.
        """
        if not task.rule.is_regression:
            raise SettingsError(
                "needs-a-number",
                f"measure errors needs a predicted number, not the classes {list(task.rule.classes)}",
                hint="the validation table holds what classes are measured by (validation.blocks)",
            )
        return cls(settings.edges, task.rule)

    @property
    def n_cells(self) -> int:
        """A cell per band."""
        return len(self.edges) + 1

    @property
    def norm(self) -> float:
        """A one-hot row."""
        return 1.0

    def rows_of(self, patients: Scored) -> Floats:
        """One-hot over bands [n, m]; zeros without a label; what is no number is the largest error."""
        rows = np.zeros((len(patients), self.n_cells))
        with np.errstate(invalid="ignore", over="ignore"):
            error = np.abs(self.rule.score(patients.outputs) - patients.label)
        band = np.searchsorted(np.asarray(self.edges), np.where(np.isfinite(error), error, np.inf))
        rows[np.arange(len(patients)), band] = 1.0
        rows[~np.isfinite(patients.label)] = 0.0
        return rows

    def read(
        self, total: Floats, *, sd: float, minimum_cell: int, n_expected: float
    ) -> Mapping[str, Estimate]:
        """The share of patients within each edge."""
        found = self._figures(total, sd=sd, minimum_cell=0 if sd else minimum_cell)
        if not sd:
            return found
        return worth_showing(found, self.expect(n_expected, sd=sd, minimum_cell=minimum_cell))

    def expect(self, n: float, *, sd: float, minimum_cell: int) -> Mapping[str, Estimate]:
        """The shares of ``n`` patients of whom every band holds as many."""
        return self._figures(self.expected(n), sd=sd, minimum_cell=minimum_cell, is_expected=True)

    def expected(self, n: float) -> Floats:
        """The exact total [m] of ``n`` patients of whom every band holds as many."""
        return np.full(self.n_cells, n / self.n_cells)

    def _figures(
        self, total: Floats, *, sd: float, minimum_cell: int, is_expected: bool = False
    ) -> dict[str, Estimate]:
        variance, everybody = np.full(self.n_cells, sd**2), np.ones(self.n_cells, dtype=bool)
        return {
            f"within {edge:g}": share_of(
                total,
                variance,
                np.arange(self.n_cells) <= place,
                everybody,
                minimum_cell,
                is_expected=is_expected,
            )
            for place, edge in enumerate(self.edges)
        }

    def suppress(self, total: Floats, minimum_cell: int) -> Floats:
        """Bands joined to the next larger one until each that holds patients holds enough."""
        joined = total.copy()
        for band in range(len(joined) - 1):
            if 0 < joined[band] < minimum_cell:
                joined[band + 1] += joined[band]
                joined[band] = 0.0
        if 0 < joined[-1] < minimum_cell:
            raise PolicyError(
                "cell-too-small",
                f"the band of the largest errors holds fewer than {minimum_cell} patients",
                hint="ask for noised tables (validation.release_class=dp), or measure more patients",
            )
        return joined
