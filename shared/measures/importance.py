"""How much a release errs more when one clinical field is not the patient's own.

Each patient is scored again with one field replaced by a public donor's; the rise of the error is
clipped. One row: a count, the rises and their squares. Permuting a column inside a cohort would couple
patients; a donor does not. A field that the model reads through another one (height through BMI) rises
little. Imports the contract of sums and figures.
Legend: n patients · k fields · o outputs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import BaseModel, Field

from shared.errors import PolicyError
from shared.measures.counts import support_of
from shared.measures.figures import why_lacking
from shared.measures.scored import MeasureTask, Rule, Scored
from shared.strict import FROZEN
from shared.sums.contract import Floats
from shared.sums.estimate import TOO_NOISY, Estimate
from shared.sums.intervals import normal_quantile

# Shares of a row's norm: the count and the squares are needed less exactly than the rises.
_COUNT, _SQUARES = 0.25, 0.25
# A rise is told from none when its interval is no wider than this share of the clip on either side.
_NARROW = 0.15
# The spread of rises in clips, before anything is known.
_EXPECTED_SPREAD = 0.25


class ImportanceSettings(BaseModel):
    """Settings of the importance of clinical fields.

    Attributes:
        clip: largest rise of one patient's error that counts: in the target's unit, or for classes in
            probability of the true class.
    """

    model_config = FROZEN

    kind: Literal["importance"]
    clip: float = Field(gt=0)


@dataclass(frozen=True)
class Importance:
    """Cells [1 + 2k]: patients, rises in clips and their squares, each part at its weight."""

    rule: Rule
    names: tuple[str, ...]
    clip: float

    @classmethod
    def build(cls, settings: ImportanceSettings, task: MeasureTask) -> Importance:
        """The measure of a plan."""
        return cls(task.rule, tuple(field.name for field in task.fields), settings.clip)

    @property
    def replaced_fields(self) -> range:
        """Places of the fields whose donors' outputs the measure reads."""
        return range(len(self.names))

    @property
    def n_cells(self) -> int:
        """1 + 2k."""
        return 1 + 2 * len(self.names)

    @property
    def norm(self) -> float:
        """√(1 + w² + v²): k rises of at most a clip at weight 1/√k, the count at w, squares at v/√k."""
        return math.sqrt(1.0 + _COUNT**2 + _SQUARES**2)

    def rows_of(self, patients: Scored) -> Floats:
        """A row [n, 1 + 2k]; zeros without a label. What is no number errs most."""
        before = self._error(patients.outputs, patients.label)  # [n]
        after = np.stack(
            [
                self._error(patients.replaced[:, place], patients.label)
                for place in self.replaced_fields
            ],
            axis=1,
        )
        with np.errstate(invalid="ignore", over="ignore"):
            rises = np.clip((after - before[:, None]) / self.clip, -1.0, 1.0)
        rises = np.where(np.isfinite(rises), rises, 0.0) / math.sqrt(len(self.names))
        rows = np.concatenate(
            [
                np.full((len(patients), 1), _COUNT),
                rises,
                _SQUARES * math.sqrt(len(self.names)) * rises**2,
            ],
            axis=1,
        )
        rows[self.rule.class_of(patients.label) < 0] = 0.0
        return rows

    def _error(self, outputs: Floats, label: Floats) -> Floats:
        """|prediction − label|, or 1 − the probability of the true class; of what is no number inf."""
        with np.errstate(invalid="ignore", over="ignore"):
            if self.rule.is_regression:
                error = np.abs(self.rule.score(outputs) - label)
            else:
                true = np.where(np.isfinite(label), label, 0.0).astype(np.intp)
                true = np.clip(true, 0, outputs.shape[1] - 1)
                error = 1.0 - outputs[np.arange(len(label)), true]
        return np.where(np.isfinite(error), error, np.inf)

    def read(
        self, total: Floats, *, sd: float, minimum_cell: int, n_expected: float
    ) -> Mapping[str, Estimate]:
        """The mean rise by field, and of how many patients."""
        found = self._figures(total, sd=sd, minimum_cell=0 if sd else minimum_cell)
        if not sd:
            return found
        expected = self.expect(n_expected, sd=sd, minimum_cell=minimum_cell)
        return {name: each if self._says(expected[name]) else TOO_NOISY for name, each in found.items()}

    def _says(self, expected: Estimate) -> bool:
        """Whether a figure of public values and noise alone has an interval that tells something."""
        if expected.value is None or expected.high is None:
            return False
        if expected.value:  # the count
            return expected.high <= 2.0 * expected.value
        return expected.high <= _NARROW * self.clip

    def expect(self, n: float, *, sd: float, minimum_cell: int) -> Mapping[str, Estimate]:
        """No rises, of the usual spread."""
        return self._figures(self.expected(n), sd=sd, minimum_cell=minimum_cell, is_expected=True)

    def expected(self, n: float) -> Floats:
        """The exact total [m] of ``n`` patients without a mean rise."""
        k = len(self.names)
        squares = np.full(k, _SQUARES / math.sqrt(k) * _EXPECTED_SPREAD**2)
        return np.concatenate([[_COUNT * n], np.zeros(k), squares * n])

    def suppress(self, total: Floats, minimum_cell: int) -> Floats:
        """An exact total leaves only of enough patients.

        Raises:
            PolicyError: it is of fewer.
        """
        if 0 < total[0] / _COUNT < minimum_cell - 0.5:
            raise PolicyError(
                "cell-too-small",
                f"the importance of fields is of fewer than {minimum_cell} patients",
                hint="ask for noised tables (validation.release_class=dp), or measure more patients",
            )
        return total

    def _figures(
        self, total: Floats, *, sd: float, minimum_cell: int, is_expected: bool = False
    ) -> dict[str, Estimate]:
        k, root = len(self.names), math.sqrt(len(self.names))
        n = float(total[0]) / _COUNT
        found = support_of(("measured",), np.array([n]), sd / _COUNT, minimum_cell)
        why = why_lacking(n, minimum_cell, noise_variance=(sd / _COUNT) ** 2, is_expected=is_expected)
        for place, name in enumerate(self.names):
            figure = f"error rises by, without {name}"
            if why:
                found[figure] = why
                continue
            mean = float(total[1 + place]) * root / n  # in clips
            square = float(total[1 + k + place]) * root / (_SQUARES * n)
            spread = max(square, mean**2) - mean**2
            noise = (sd * root / n) ** 2 + (mean * sd / (_COUNT * n)) ** 2
            half = normal_quantile(0.95) * math.sqrt(spread / n + noise)
            ends = (
                min(max(value, -1.0), 1.0) * self.clip for value in (mean, mean - half, mean + half)
            )
            value, low, high = ends
            found[figure] = Estimate(status="measured", value=value, low=low, high=high)
        return found
