"""Groups of patients: how a release reads women and men, the young and the old, one maker's films.

One-hot over group × (endpoint or not) × bin of the score, each patient in one cell: groups share no
patient, and who cannot be placed is a group too. A stage of its own, with its own price. Imports the
contract of sums, figures and the groups.
Legend: n patients · g groups · b bins.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from pydantic import BaseModel, Field, model_validator

from shared.measures.counts import support_of
from shared.measures.cut_bins import CutBins, bins_of_release
from shared.measures.figures import (
    PREVALENCE,
    auc_of,
    bell_pair,
    require_full_cells,
    share_of,
    worth_showing,
)
from shared.measures.grouping import Grouping, Vendor, grouping_of, require_vendors
from shared.measures.scored import MeasureTask, Rule, Scored
from shared.strict import FROZEN
from shared.sums.contract import Floats
from shared.sums.estimate import Estimate


class SubgroupsSettings(BaseModel):
    """Settings of figures by groups of patients.

    Attributes:
        field: of the schema, or ``vendor``, who made the scanner.
        edges: where a number's bands meet, in the schema's unit; none for a category.
        vendors: with ``vendor`` only.
        bins: of the scores.
        low: public lower end of the scores' bins.
        high: public upper end.
    """

    model_config = FROZEN

    kind: Literal["subgroups"]
    field: str
    edges: tuple[float, ...] = Field(default=(), max_length=16)
    vendors: tuple[Vendor, ...] = Field(default=(), max_length=16)
    bins: int = Field(default=6, ge=4, le=64)
    low: float
    high: float

    @model_validator(mode="after")
    def _rises(self) -> SubgroupsSettings:
        if self.low >= self.high:
            raise ValueError(f"low must lie below high, not {self.low} and {self.high}")
        require_vendors(self.vendors)
        if any(high <= low for low, high in pairwise(self.edges)):
            raise ValueError(f"edges must rise, not {list(self.edges)}")
        return self


@dataclass(frozen=True)
class Subgroups:
    """Cells [g·2·b]: within a group those without the endpoint first, bins by rising suspicion."""

    rule: Rule
    bins: CutBins
    groups: Grouping

    @classmethod
    def build(cls, settings: SubgroupsSettings, task: MeasureTask) -> Subgroups:
        """The measure of a plan.

        Raises:
            SettingsError: no such field, edges or vendors that do not go with it, or an operating point
                outside.
        """
        groups = grouping_of(
            settings.field, task.fields, edges=settings.edges, vendors=settings.vendors
        )
        bins = bins_of_release(task, low=settings.low, high=settings.high, n_bins=settings.bins)
        return cls(task.rule, bins, groups)

    @property
    def n_cells(self) -> int:
        """g·2·b."""
        return 2 * len(self.groups.names) * self.bins.n_bins

    @property
    def norm(self) -> float:
        """A patient is in one cell."""
        return 1.0

    def rows_of(self, patients: Scored) -> Floats:
        """One-hot [n, g·2·b]; zeros without a label. What is no number ranks against its class."""
        rows = np.zeros((len(patients), self.n_cells))
        known = np.flatnonzero(self.rule.class_of(patients.label) >= 0)
        picked = patients.select([int(place) for place in known])
        is_ill = self.rule.is_positive(picked.label)
        place = self.bins.places(self.rule.score(picked.outputs), is_ill)
        group = self.groups.places(picked)
        rows[known, (2 * group + is_ill) * self.bins.n_bins + place] = 1.0
        return rows

    def read(
        self, total: Floats, *, sd: float, minimum_cell: int, n_expected: float
    ) -> Mapping[str, Estimate]:
        """AUC, sensitivity and specificity of the endpoint in each group, and how many are in it."""
        found = self._figures(total, sd=sd, minimum_cell=0 if sd else minimum_cell)
        if not sd:
            return found
        return worth_showing(found, self.expect(n_expected, sd=sd, minimum_cell=minimum_cell))

    def expect(self, n: float, *, sd: float, minimum_cell: int) -> Mapping[str, Estimate]:
        """Figures by name of ``n`` patients in the usual groups, all of one size."""
        return self._figures(self.expected(n), sd=sd, minimum_cell=minimum_cell, is_expected=True)

    def expected(self, n: float) -> Floats:
        """The exact total [m] of ``n`` expected patients."""
        usual, names = self.groups.n_usual, self.groups.names
        shares = np.array([1.0 - PREVALENCE, PREVALENCE])
        total = np.zeros((len(names), 2, self.bins.n_bins))
        total[:usual] = n / usual * shares[:, None] * bell_pair(self.bins.n_bins)
        return total.ravel()

    def suppress(self, total: Floats, minimum_cell: int) -> Floats:
        """An exact total leaves only where no cell of it is of a few patients.

        Raises:
            PolicyError: one is.
        """
        require_full_cells(total, minimum_cell, of="subgroup", fewer="bins and bands")
        return total

    def _figures(
        self, total: Floats, *, sd: float, minimum_cell: int, is_expected: bool = False
    ) -> dict[str, Estimate]:
        bins, names, is_called = self.bins.n_bins, self.groups.names, self.bins.is_called
        cells = total.reshape(len(names), 2, bins)
        found = support_of(names, cells.sum(axis=(1, 2)), sd * math.sqrt(2 * bins), minimum_cell)
        variance = np.full((2, bins), sd**2)
        ill, well = np.zeros((2, bins), dtype=bool), np.zeros((2, bins), dtype=bool)
        ill[1], well[0] = True, True
        for name, group in zip(names, cells, strict=True):
            found[f"AUC, {name}"] = auc_of(
                group[1], group[0], (sd, sd), minimum_cell, is_expected=is_expected
            )
            for word, hit, of in (
                ("sensitivity", ill & is_called, ill),
                ("specificity", well & ~is_called, well),
            ):
                found[f"{word}, {name}"] = share_of(
                    group, variance, hit, of, minimum_cell, is_expected=is_expected
                )
        return found
