"""How much ranking a release loses when bone is hidden, and when as much else is (Δ_bone, Δ_random).

Each patient is scored three times: of the films as they are, with bone replaced by the local mean of
what is none, and with an equal area of what is none replaced. Three one-hots, by class, over the bins
of two of these scores each, so that every difference of two AUCs is paired. From AUCs alone: an error
may fall where ranking is lost. Imports the contract of sums, figures and pairs.
Legend: n patients · b bins · m cells.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import BaseModel, Field, model_validator

from shared.measures.assessed import (
    keep_unassessed,
    read_assessed,
    why_unassessed,
    with_unassessed,
)
from shared.measures.cut_bins import CutBins, bins_of_release
from shared.measures.figures import (
    PREVALENCE,
    auc_of,
    bell_pair,
    require_full_cells,
    why_either_is_lacking,
    worth_showing,
)
from shared.measures.means import COUNT
from shared.measures.scored import MeasureTask, Rule, Scored
from shared.strict import FROZEN
from shared.sums.contract import Floats
from shared.sums.estimate import Estimate
from shared.sums.paired import auc_difference

# Readings: 0 as it is, 1 bone hidden, 2 as much else hidden; of a pair the first less the second.
DELTA = "AUC, Δ bone - Δ random"
DIFFERENCES = {"AUC, Δ bone": (0, 1), "AUC, Δ random": (0, 2), DELTA: (2, 1)}
_PAIRS = tuple(DIFFERENCES.values())
_READINGS = ("AUC", "AUC, bone hidden", "AUC, as much else hidden")


class BoneSettings(BaseModel):
    """Settings of the ranking that is lost with the bone.

    Attributes:
        bins: of the release's scores.
        low: public lower end of the release's scores.
        high: public upper end.
    """

    model_config = FROZEN

    kind: Literal["bone"]
    bins: int = Field(default=6, ge=3, le=16)
    low: float
    high: float

    @model_validator(mode="after")
    def _rises(self) -> BoneSettings:
        if self.low >= self.high:
            raise ValueError(f"low must lie below high, not {self.low} and {self.high}")
        return self


@dataclass(frozen=True)
class Bone:
    """Cells [1 + 3·2·b² + 1]: the assessed; by pair, class (well first) and both bins; the others."""

    rule: Rule
    bins: CutBins

    reads_bone: Literal["hidden", "maps"] = "hidden"

    @classmethod
    def build(cls, settings: BoneSettings, task: MeasureTask) -> Bone:
        """The measure of a plan.

        Raises:
            SettingsError: the model reads no films, or an operating point outside the bins.
        """
        task.require_films(settings.kind)
        bins = bins_of_release(task, low=settings.low, high=settings.high, n_bins=settings.bins)
        return cls(task.rule, bins)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of the joint counts [3,2,b,b]."""
        return len(_PAIRS), 2, self.bins.n_bins, self.bins.n_bins

    @property
    def n_cells(self) -> int:
        """1 + 6·b² + 1."""
        return math.prod(self.shape) + 2

    @property
    def norm(self) -> float:
        """Three cells at 1/√3, and the count of the assessed."""
        return math.hypot(1.0, COUNT)

    def rows_of(self, patients: Scored) -> Floats:
        """A row [n,m]; zeros without a label. A score that is no number ranks against its class."""
        n = len(patients)
        is_known = self.rule.class_of(patients.label) >= 0
        is_ill = self.rule.is_positive(patients.label)
        readings = [patients.outputs, *np.moveaxis(patients.replaced, 1, 0)]
        places = [self.bins.places(self.rule.score(each), is_ill) for each in readings]
        rows = np.zeros((n, 1 + math.prod(self.shape)))
        rows[:, 0] = COUNT
        for pair, (first, second) in enumerate(_PAIRS):
            at = (np.full(n, pair), is_ill.astype(np.intp), places[first], places[second])
            rows[np.arange(n), 1 + np.ravel_multi_index(at, self.shape)] = 1.0 / math.sqrt(3.0)
        return with_unassessed(
            rows, is_assessed=patients.is_assessed, is_known=is_known, norm=self.norm
        )

    def read(
        self, total: Floats, *, sd: float, minimum_cell: int, n_expected: float
    ) -> Mapping[str, Estimate]:
        """AUC of each reading, Δ_bone, Δ_random and Δ_bone − Δ_random, and of how many."""
        found = self._figures(total, sd=sd, minimum_cell=0 if sd else minimum_cell)
        if not sd:
            return found
        shown = worth_showing(found, self.expect(n_expected, sd=sd, minimum_cell=minimum_cell))
        return keep_unassessed(shown, found)

    def expect(self, n: float, *, sd: float, minimum_cell: int) -> Mapping[str, Estimate]:
        """Figures by name of ``n`` patients, all assessed, whose readings err each by itself."""
        return self._figures(self.expected(n), sd=sd, minimum_cell=minimum_cell, is_expected=True)

    def expected(self, n: float) -> Floats:
        """The exact total [m] of ``n`` expected patients."""
        shares = np.array([1.0 - PREVALENCE, PREVALENCE])[:, None, None]
        bells = bell_pair(self.bins.n_bins)
        joint = shares * bells[:, :, None] * bells[:, None, :]  # [2,b,b]
        cells = np.broadcast_to(joint, self.shape).ravel() / math.sqrt(3.0)
        return n * np.concatenate([[COUNT], cells, [0.0]])

    def suppress(self, total: Floats, minimum_cell: int) -> Floats:
        """An exact total leaves only where no cell of it is of a few patients.

        Raises:
            PolicyError: one is.
        """
        counts = np.concatenate([self._joint(total).ravel(), total[-1:] / self.norm])
        counts = np.where(counts < 0.5, 0.0, np.ceil(counts - 0.5))
        require_full_cells(counts, minimum_cell, of="table with bone hidden", fewer="bins")
        return total

    def _joint(self, total: Floats) -> Floats:
        """Patients by pair, class and bins [3,2,b,b]."""
        return total[1:-1].reshape(self.shape) * math.sqrt(3.0)

    def _figures(
        self, total: Floats, *, sd: float, minimum_cell: int, is_expected: bool = False
    ) -> dict[str, Estimate]:
        n_assessed, count_sd = float(total[0]) / COUNT, sd / COUNT
        found = read_assessed(
            n_assessed,
            float(total[-1]) / self.norm,
            sds=(count_sd, sd / self.norm),
            minimum_cell=minimum_cell,
        )
        joint, cell_sd = self._joint(total), sd * math.sqrt(3.0)
        sizes = joint.sum(axis=(0, 2, 3)) / len(_PAIRS)  # the healthy, the ill
        size_variance = cell_sd**2 * self.bins.n_bins**2 / len(_PAIRS)
        why = why_unassessed(
            n_assessed, sd=count_sd, minimum_cell=minimum_cell, is_expected=is_expected
        ) or why_either_is_lacking(
            (float(sizes[1]), float(sizes[0])),
            (size_variance, size_variance),
            minimum_cell,
            is_expected=is_expected,
        )
        if why:
            return found | dict.fromkeys((*_READINGS, *DIFFERENCES), why)
        # each reading is in two pairs: the mean of both counts of its bins
        bin_sd = cell_sd * math.sqrt(self.bins.n_bins / 2)
        for reading, name in enumerate(_READINGS):
            margins = [
                joint[pair].sum(axis=2 - own.index(reading))
                for pair, own in enumerate(_PAIRS)
                if reading in own
            ]
            well, ill = sum(margins, start=np.zeros((2, self.bins.n_bins))) / len(margins)
            found[name] = auc_of(ill, well, (bin_sd, bin_sd), minimum_cell, is_expected=is_expected)
        for (well, ill), name in zip(joint, DIFFERENCES, strict=True):
            each = auc_difference(ill, well, cell_sd=cell_sd, confidence=0.95)
            found[name] = Estimate(status="measured", value=each.value, low=each.low, high=each.high)
        return found
