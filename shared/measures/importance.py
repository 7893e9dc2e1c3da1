"""How much a release errs more when one clinical field is not the patient's own, or without what a site
trained for itself.

Each patient is scored again with one field replaced by a public donor's, or by the release without the
local training; the rise of the error is clipped. One row: a count, the rises and their squares.
Permuting a column inside a cohort would couple patients; a donor does not. A field that the model reads
through another one (height through BMI) rises little. Imports the contract of sums and figures.
Legend: n patients · k fields · o outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from pydantic import BaseModel, Field

from shared.errors import PolicyError, SettingsError
from shared.measures.counts import support_of
from shared.measures.means import COUNT, Means, count_tells
from shared.measures.scored import MeasureTask, Rule, Scored
from shared.strict import FROZEN
from shared.sums.contract import Floats
from shared.sums.estimate import TOO_NOISY, Estimate

LOCAL_TRAINING = "local training"


class ImportanceSettings(BaseModel):
    """Settings of the importance of clinical fields, or of local training.

    Attributes:
        of: what is left out: one ``fields`` after another; or the ``local_training`` by which a site
            went on from a release, in that site's own plan.
        clip: largest rise of one patient's error that counts: in the target's unit, or for classes in
            probability of the true class.
    """

    model_config = FROZEN

    kind: Literal["importance"]
    of: Literal["fields", "local_training"] = "fields"
    clip: float = Field(gt=0)


def rise_without(name: str) -> str:
    """The figure of what is left out."""
    return f"error rises by, without {name}"


@dataclass(frozen=True)
class Importance:
    """Cells [1 + 2k]: patients, rises in clips and their squares, each part at its weight.

    ``replaced_fields``: places of the fields whose donors' outputs are read; none of local training.
    """

    rule: Rule
    names: tuple[str, ...]
    clip: float
    replaced_fields: range

    @classmethod
    def build(cls, settings: ImportanceSettings, task: MeasureTask) -> Importance:
        """The measure of a plan.

        Raises:
            SettingsError: a probability is clipped where none can be.
        """
        if not task.rule.is_regression and settings.clip > 1:
            raise SettingsError(
                "clip-above-rise",
                f"a probability rises by 1 at most, and is clipped at {settings.clip:g}: noise would "
                "be as much larger",
                hint="set measures.NAME.measure.clip to 0.2 or so, at most 1",
            )
        if settings.of == "local_training":
            return cls(task.rule, (LOCAL_TRAINING,), settings.clip, range(0))
        names = tuple(field.name for field in task.fields)
        return cls(task.rule, names, settings.clip, range(len(names)))

    @cached_property
    def means(self) -> Means:
        """Of the rises in clips."""
        return Means(tuple(rise_without(name) for name in self.names), unit=self.clip)

    @property
    def n_cells(self) -> int:
        """1 + 2k."""
        return self.means.n_cells

    @property
    def norm(self) -> float:
        """Of a mean's row."""
        return self.means.norm

    def rows_of(self, patients: Scored) -> Floats:
        """A row [n, 1 + 2k]; zeros without a label. What is no number errs most."""
        before = self._error(patients.outputs, patients.label)  # [n]
        after = np.stack(
            [
                self._error(patients.replaced[:, place], patients.label)
                for place in range(len(self.names))
            ],
            axis=1,
        )
        with np.errstate(invalid="ignore", over="ignore"):
            rises = np.clip((after - before[:, None]) / self.clip, -1.0, 1.0)
        rows = self.means.rows_of(rises)
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
        says = {name: self.means.tells if name in self.means.names else count_tells for name in found}
        return {name: each if says[name](expected[name]) else TOO_NOISY for name, each in found.items()}

    def expect(self, n: float, *, sd: float, minimum_cell: int) -> Mapping[str, Estimate]:
        """No rises, of the usual spread."""
        return self._figures(self.expected(n), sd=sd, minimum_cell=minimum_cell, is_expected=True)

    def expected(self, n: float) -> Floats:
        """The exact total [m] of ``n`` patients without a mean rise."""
        return self.means.expected(n)

    def suppress(self, total: Floats, minimum_cell: int) -> Floats:
        """An exact total leaves only of enough patients.

        Raises:
            PolicyError: it is of fewer.
        """
        if 0 < self.means.count_of(total) < minimum_cell - 0.5:
            raise PolicyError(
                "cell-too-small",
                f"the importance of fields is of fewer than {minimum_cell} patients",
                hint="ask for noised tables (validation.release_class=dp), or measure more patients",
            )
        return total

    def _figures(
        self, total: Floats, *, sd: float, minimum_cell: int, is_expected: bool = False
    ) -> dict[str, Estimate]:
        count = np.array([self.means.count_of(total)])
        return support_of(("measured",), count, sd / COUNT, minimum_cell) | self.means.figures(
            total, sd=sd, minimum_cell=minimum_cell, is_expected=is_expected
        )
