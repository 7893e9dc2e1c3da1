"""Bins of a score between public ends, with its cut on an edge, so that they hold who is called.

Bins are numbered by rising suspicion, whichever way a score points. Imports the contract of measures.
Legend: n patients · b bins.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from shared.errors import SettingsError
from shared.measures.scored import MeasureTask
from shared.sums.contract import Floats

Bools = NDArray[np.bool_]
Indices = NDArray[np.intp]


@dataclass(frozen=True, kw_only=True)
class CutBins:
    """``low``, ``high``: public ends; a score beyond falls in an end bin.

    ``is_cut_called``: whether a score that equals the cut is called.
    """

    low: float
    high: float
    n_bins: int
    cut: float
    is_low_suspicious: bool
    is_cut_called: bool = True

    def require_cut_inside(self, *, of: str, setting: str) -> CutBins:
        """These bins, whose cut lies between their ends.

        Args:
            of: what is cut.
            setting: where ``low`` and ``high`` stand in a run's settings.

        Raises:
            SettingsError: it does not.
        """
        if self.low < self.cut < self.high:
            return self
        raise SettingsError(
            "cut-outside-scores",
            f"the cut {self.cut:g} of {of} must lie between {setting}.low {self.low:g} and "
            f"{setting}.high {self.high:g}",
            hint=f"set {setting}.low below {self.cut:g} and {setting}.high above it",
        )

    @cached_property
    def edges(self) -> Floats:
        """Edges between bins [b − 1], rising, the cut in place of the nearest."""
        edges = np.linspace(self.low, self.high, self.n_bins + 1)[1:-1]
        edges[np.abs(edges - self.cut).argmin()] = self.cut
        return edges

    @cached_property
    def is_called(self) -> Bools:
        """Which bins are called [b]."""
        n_below = int(np.searchsorted(self.edges, self.cut)) + 1
        n_called = n_below if self.is_low_suspicious else self.n_bins - n_below
        called: Bools = np.arange(self.n_bins) >= self.n_bins - n_called
        return called

    def places(self, score: Floats, is_ill: Bools) -> Indices:
        """Bins by rising suspicion [n]. A score that is no number is suspicious of the healthy only."""
        side: Literal["left", "right"] = (
            "left" if self.is_low_suspicious == self.is_cut_called else "right"
        )
        places = np.searchsorted(self.edges, score, side=side)
        if self.is_low_suspicious:
            places = self.n_bins - 1 - places
        return np.where(np.isfinite(score), places, np.where(is_ill, 0, self.n_bins - 1))


def bins_of_release(task: MeasureTask, *, low: float, high: float, n_bins: int) -> CutBins:
    """Bins of a release's score, its operating point on an edge.

    Raises:
        SettingsError: the operating point lies outside.
    """
    return CutBins(
        low=low,
        high=high,
        n_bins=n_bins,
        cut=task.rule.operating_point,
        is_low_suspicious=task.rule.is_low_positive,
    ).require_cut_inside(of="the release's score", setting=task.setting)
