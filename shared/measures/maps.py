"""Whether a release looks at bone: agreement of its own maps with masks, beyond chance.

One row: three bounded values of each patient, the means over that patient's films (``saliency``).
Maps and masks stay at the site. Imports the contract of sums, means and figures.
Legend: n patients · m cells.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import BaseModel

from shared.errors import PolicyError
from shared.measures.assessed import (
    keep_unassessed,
    read_assessed,
    why_unassessed,
    with_unassessed,
)
from shared.measures.means import COUNT, Means, count_tells
from shared.measures.scored import MeasureTask, Rule, Scored
from shared.strict import FROZEN
from shared.sums.contract import Floats
from shared.sums.estimate import TOO_NOISY, Estimate

AGREEMENTS = ("IoU above chance", "pointing hit above chance", "energy in bone above chance")
_MEANS = Means(AGREEMENTS)


class MapsSettings(BaseModel):
    """Settings of the agreement of maps with bone; it has none of its own."""

    model_config = FROZEN

    kind: Literal["maps"]


@dataclass(frozen=True)
class Maps:
    """Cells [7 + 1]: the assessed, three agreements and their squares; those who are not assessed."""

    rule: Rule

    reads_bone: Literal["hidden", "maps"] = "maps"

    @classmethod
    def build(cls, settings: MapsSettings, task: MeasureTask) -> Maps:
        """The measure of a plan.

        Raises:
            SettingsError: the model reads no films, or of them what has no place.
        """
        task.require_places(settings.kind)
        return cls(task.rule)

    @property
    def n_cells(self) -> int:
        """8."""
        return _MEANS.n_cells + 1

    @property
    def norm(self) -> float:
        """Of three means."""
        return _MEANS.norm

    def rows_of(self, patients: Scored) -> Floats:
        """A row [n,m]; zeros without a label."""
        with np.errstate(invalid="ignore"):
            rows = _MEANS.rows_of(np.clip(patients.maps, -1.0, 1.0))
        is_known = self.rule.class_of(patients.label) >= 0
        return with_unassessed(
            rows, is_assessed=patients.is_assessed, is_known=is_known, norm=self.norm
        )

    def read(
        self, total: Floats, *, sd: float, minimum_cell: int, n_expected: float
    ) -> Mapping[str, Estimate]:
        """The mean of each agreement, and of how many patients."""
        found = self._figures(total, sd=sd, minimum_cell=0 if sd else minimum_cell)
        if not sd:
            return found
        expected = self.expect(n_expected, sd=sd, minimum_cell=minimum_cell)
        are_counted = count_tells(expected["n, assessed"])  # the others are counted with less noise
        shown = {
            name: each
            if (_MEANS.tells(expected[name]) if name in _MEANS.names else are_counted)
            else TOO_NOISY
            for name, each in found.items()
        }
        return keep_unassessed(shown, found)

    def expect(self, n: float, *, sd: float, minimum_cell: int) -> Mapping[str, Estimate]:
        """Chance, of ``n`` patients who are all assessed."""
        return self._figures(self.expected(n), sd=sd, minimum_cell=minimum_cell, is_expected=True)

    def expected(self, n: float) -> Floats:
        """The exact total [m] of ``n`` patients whose maps are chance."""
        return np.append(_MEANS.expected(n), 0.0)

    def suppress(self, total: Floats, minimum_cell: int) -> Floats:
        """An exact total leaves only where assessed and not assessed are enough patients each.

        Raises:
            PolicyError: some are fewer.
        """
        counts = _MEANS.count_of(total), float(total[-1]) / self.norm
        if any(0.5 <= count < minimum_cell - 0.5 for count in counts):
            raise PolicyError(
                "cell-too-small",
                f"the agreement of maps is, or is not, of fewer than {minimum_cell} patients",
                hint="ask for noised tables (validation.release_class=dp), or measure more patients",
            )
        return total

    def _figures(
        self, total: Floats, *, sd: float, minimum_cell: int, is_expected: bool = False
    ) -> dict[str, Estimate]:
        n_assessed, count_sd = _MEANS.count_of(total), sd / COUNT
        found = read_assessed(
            n_assessed,
            float(total[-1]) / self.norm,
            sds=(count_sd, sd / self.norm),
            minimum_cell=minimum_cell,
        )
        why = why_unassessed(
            n_assessed, sd=count_sd, minimum_cell=minimum_cell, is_expected=is_expected
        )
        if why:
            return found | dict.fromkeys(_MEANS.names, why)
        return found | _MEANS.figures(total, sd=sd, minimum_cell=minimum_cell, is_expected=is_expected)
