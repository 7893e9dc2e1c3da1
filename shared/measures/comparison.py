"""A release beside a published simple rule of clinical fields, on the same patients.

One-hot over (endpoint or not) × the release's bin × the rule's bin, both by rising suspicion: a joint
count, so that a difference is paired. Who lacks a field of the rule is counted by endpoint and compared
in nothing: taken as wrong, that patient would flatter the release. A release's score that is no number
is wrong. Imports the contract of sums, figures and the rule.
Legend: n patients · b bins of the release · r bins of the rule.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, model_validator

from shared.measures.counts import support_of
from shared.measures.cut_bins import CutBins, bins_of_release
from shared.measures.figures import (
    PREVALENCE,
    auc_of,
    bell_pair,
    require_full_cells,
    share_of,
    why_either_is_lacking,
    why_lacking,
    worth_showing,
)
from shared.measures.scored import MeasureTask, Rule, Scored
from shared.measures.simple_rule import SimpleRule, SimpleRuleSettings
from shared.strict import FROZEN
from shared.sums.contract import Floats
from shared.sums.estimate import Estimate
from shared.sums.paired import Difference, auc_difference, share_difference

Bools = NDArray[np.bool_]


class ComparisonSettings(BaseModel):
    """Settings of a comparison with a published simple rule.

    Attributes:
        bins: of the release's scores.
        low: public lower end of the release's scores.
        high: public upper end.
        rule: what the release is compared with.
    """

    model_config = FROZEN

    kind: Literal["comparison"]
    bins: int = Field(default=6, ge=4, le=16)
    low: float
    high: float
    rule: SimpleRuleSettings

    @model_validator(mode="after")
    def _rises(self) -> ComparisonSettings:
        if self.low >= self.high:
            raise ValueError(f"low must lie below high, not {self.low} and {self.high}")
        return self


@dataclass(frozen=True)
class Comparison:
    """Cells [2·b·r + 2]: those without the endpoint first; last who lacks a field, without and with."""

    rule: Rule
    bins: CutBins
    simple: SimpleRule

    @classmethod
    def build(cls, settings: ComparisonSettings, task: MeasureTask) -> Comparison:
        """The measure of a plan.

        Raises:
            SettingsError: a field that the schema does not have as a number, or a cut outside its bins.
        """
        bins = bins_of_release(task, low=settings.low, high=settings.high, n_bins=settings.bins)
        return cls(task.rule, bins, SimpleRule.build(settings.rule, task))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the joint count [2,b,r]."""
        return 2, self.bins.n_bins, self.simple.bins.n_bins

    @property
    def n_cells(self) -> int:
        """2·b·r + 2."""
        return math.prod(self.shape) + 2

    @property
    def norm(self) -> float:
        """A patient is in one cell."""
        return 1.0

    def rows_of(self, patients: Scored) -> Floats:
        """One-hot [n, 2·b·r + 2]; zeros without a label."""
        rows = np.zeros((len(patients), self.n_cells))
        known = np.flatnonzero(self.rule.class_of(patients.label) >= 0)
        picked = patients.select([int(place) for place in known])
        is_ill = self.rule.is_positive(picked.label)
        value = self.simple.values(picked)
        of_release = self.bins.places(self.rule.score(picked.outputs), is_ill)
        of_rule = self.simple.bins.places(value, is_ill)
        joint = np.ravel_multi_index((is_ill.astype(np.intp), of_release, of_rule), self.shape)
        rows[known, np.where(np.isfinite(value), joint, math.prod(self.shape) + is_ill)] = 1.0
        return rows

    def read(
        self, total: Floats, *, sd: float, minimum_cell: int, n_expected: float
    ) -> Mapping[str, Estimate]:
        """AUC, sensitivity and specificity of the release, of the rule, and what the first has more.

        ``n, compared`` are the patients whom the figures are of.
        """
        found = self._figures(total, sd=sd, minimum_cell=0 if sd else minimum_cell)
        if not sd:
            return found
        return worth_showing(found, self.expect(n_expected, sd=sd, minimum_cell=minimum_cell))

    def expect(self, n: float, *, sd: float, minimum_cell: int) -> Mapping[str, Estimate]:
        """Figures by name of ``n`` patients whom both tell apart, each with errors of its own."""
        return self._figures(self.expected(n), sd=sd, minimum_cell=minimum_cell, is_expected=True)

    def expected(self, n: float) -> Floats:
        """The exact total [m] of ``n`` expected patients."""
        _, n_bins, n_rule_bins = self.shape
        shares = np.array([1.0 - PREVALENCE, PREVALENCE])[:, None, None]
        joint = shares * bell_pair(n_bins)[:, :, None] * bell_pair(n_rule_bins)[:, None, :]
        return np.concatenate([n * joint.ravel(), np.zeros(2)])

    def suppress(self, total: Floats, minimum_cell: int) -> Floats:
        """An exact total leaves only where no cell of it is of a few patients.

        Raises:
            PolicyError: one is.
        """
        require_full_cells(total, minimum_cell, of="comparison", fewer="bins")
        return total

    def _figures(
        self, total: Floats, *, sd: float, minimum_cell: int, is_expected: bool = False
    ) -> dict[str, Estimate]:
        joint, lacking = total[:-2].reshape(self.shape), total[-2:]  # [2,b,r], [2]
        found = self._support(joint, lacking, sd, minimum_cell)
        _, n_bins, n_rule_bins = self.shape
        well, ill = joint
        why = why_either_is_lacking(
            (float(ill.sum()), float(well.sum())),
            (sd**2 * ill.size,) * 2,
            minimum_cell,
            is_expected=is_expected,
        )
        found |= {
            "AUC, release": why
            or auc_of(
                ill.sum(axis=1), well.sum(axis=1), (sd * math.sqrt(n_rule_bins),) * 2, minimum_cell
            ),
            f"AUC, {self.simple.name}": why
            or auc_of(ill.sum(axis=0), well.sum(axis=0), (sd * math.sqrt(n_bins),) * 2, minimum_cell),
            self._less("AUC"): why or _estimate(auc_difference(ill, well, cell_sd=sd, confidence=0.95)),
        }
        called = np.broadcast_to(self.bins.is_called[:, None], ill.shape)
        called_by_rule = np.broadcast_to(self.simple.bins.is_called, ill.shape)
        for word, part, first, second in (
            ("sensitivity", ill, called, called_by_rule),
            ("specificity", well, ~called, ~called_by_rule),
        ):
            why = why_lacking(
                float(part.sum()),
                minimum_cell,
                noise_variance=sd**2 * part.size,
                is_expected=is_expected,
            )
            found |= self._shares(word, part, first, second, sd, why)
        return found

    def _support(
        self, joint: Floats, lacking: Floats, sd: float, minimum_cell: int
    ) -> dict[str, Estimate]:
        """How many are compared, with the endpoint and without, and how many the rule cannot read."""
        _, n_bins, n_rule_bins = self.shape
        half = sd * math.sqrt(n_bins * n_rule_bins)
        counts = (
            (("compared",), joint.sum(keepdims=True).ravel(), half * math.sqrt(2)),
            (
                ("compared, with the endpoint", "compared, without it"),
                joint.sum(axis=(1, 2))[::-1],
                half,
            ),
            ((f"{self.simple.name} unknown",), lacking.sum(keepdims=True), sd * math.sqrt(2)),
        )
        found: dict[str, Estimate] = {}
        for names, of_names, count_sd in counts:
            found |= support_of(names, of_names, count_sd, minimum_cell)
        return found

    def _shares(
        self,
        word: str,
        part: Floats,
        first: Bools,
        second: Bools,
        sd: float,
        why: Estimate | None,
    ) -> dict[str, Estimate]:
        """A share of one class [b,r] by the release, by the rule, and the first less the second.

        ``why``: what these are instead, where the class is too small.
        """
        variance, everybody = np.full(part.shape, sd**2), np.ones(part.shape, dtype=bool)
        apart = first & ~second, ~first & second, first == second
        counts = [float(part[cells].sum()) for cells in apart]
        noise = [float(variance[cells].sum()) for cells in apart]
        return {
            f"{word}, release": why or share_of(part, variance, first, everybody, 0),
            f"{word}, {self.simple.name}": why or share_of(part, variance, second, everybody, 0),
            self._less(word): why
            or _estimate(
                share_difference(
                    (counts[0], counts[1], counts[2]),
                    noise_variance=(noise[0], noise[1], noise[2]),
                    confidence=0.95,
                )
            ),
        }

    def _less(self, word: str) -> str:
        return f"{word}, release - {self.simple.name}"


def _estimate(found: Difference) -> Estimate:
    return Estimate(status="measured", value=found.value, low=found.low, high=found.high)
