"""One clinical field's groups: how a release reads women and men, the young and the old.

One-hot over group × (endpoint or not) × bin of the score, each patient in one cell: the groups of a
field share no patient, and who lacks the field is a group too. A stage of its own, with its own price.
Imports the contract of sums, figures and the schema.
Legend: n patients · g groups · b bins.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, model_validator

from shared.errors import PolicyError, SettingsError
from shared.exam.schema import ClinicalField
from shared.measures.figures import auc_of, share_of, support_of, worth_showing
from shared.measures.scored import MeasureTask, Rule, Scored, start_of_measure
from shared.strict import FROZEN
from shared.sums.contract import Floats, State
from shared.sums.estimate import Estimate

UNKNOWN = "unknown"
Indices = NDArray[np.intp]
# How many are taken to have the endpoint, before anything is known.
_PREVALENCE = 0.2


class SubgroupsSettings(BaseModel):
    """``field``: of the schema. ``edges``: where a number's bands meet, in the schema's unit; none for
    a category. ``low``, ``high``: public ends of the scores' bins.
    """

    model_config = FROZEN

    kind: Literal["subgroups"]
    field: str
    edges: tuple[float, ...] = Field(default=(), max_length=16)
    bins: int = Field(default=6, ge=4, le=64)
    low: float
    high: float

    @model_validator(mode="after")
    def _rises(self) -> SubgroupsSettings:
        if self.low >= self.high:
            raise ValueError(f"low must lie below high, not {self.low} and {self.high}")
        if any(high <= low for low, high in pairwise(self.edges)):
            raise ValueError(f"edges must rise, not {list(self.edges)}")
        return self


@dataclass(frozen=True)
class Subgroups:
    """Cells [g·2·b]: within a group those without the endpoint first, bins by rising score."""

    settings: SubgroupsSettings
    rule: Rule
    column: int
    names: tuple[str, ...]

    @classmethod
    def build(cls, settings: SubgroupsSettings, task: MeasureTask) -> Subgroups:
        """The measure of a plan.

        Raises:
            SettingsError: no such field, edges that do not go with it, or an operating point outside.
        """
        places = {field.name: place for place, field in enumerate(task.fields)}
        if settings.field not in places:
            raise SettingsError(
                "no-such-field", f"field must be one of {list(places)}, not {settings.field}"
            )
        field = task.fields[places[settings.field]]
        if (field.kind == "number") != bool(settings.edges):
            raise SettingsError(
                "edges-and-field",
                f"field {field.name} is a {field.kind}",
                hint="give edges for a number and none for a category",
            )
        if not settings.low < task.rule.output_cuts[0] < settings.high:
            raise SettingsError(
                "cut-outside-scores",
                f"the operating point {task.rule.output_cuts[0]} must lie between low "
                f"{settings.low} and high {settings.high}",
                hint="widen the scores that the measure counts",
            )
        column = places[settings.field]
        return cls(settings, task.rule, column, _names_of(field, settings.edges))

    @property
    def edges(self) -> Floats:
        """Edges between bins [b − 1], rising, the operating point among them."""
        settings = self.settings
        edges = np.linspace(settings.low, settings.high, settings.bins + 1)[1:-1]
        edges[np.abs(edges - self.rule.output_cuts[0]).argmin()] = self.rule.output_cuts[0]
        return np.sort(edges)

    def start(self) -> State:
        """Nothing."""
        return start_of_measure()

    def shares(self) -> tuple[float, ...]:
        """One sum has it all."""
        return (1.0,)

    def length(self, state: State) -> int:
        """g·2·b."""
        del state
        return 2 * len(self.names) * self.settings.bins

    def bound(self, state: State) -> float:
        """A patient is in one cell."""
        del state
        return 1.0

    def rows(self, state: State, patients: Scored) -> Floats:
        """One-hot [n, g·2·b]; zeros without a label. What is no number ranks against its class."""
        rows = np.zeros((len(patients), self.length(state)))
        known = np.flatnonzero(self.rule.class_of(patients.label) >= 0)
        picked = patients.select([int(place) for place in known])
        is_ill = self.rule.is_positive(picked.label)
        score = self.rule.score(picked.outputs)
        side: Literal["left", "right"] = "left" if self.rule.is_regression else "right"
        most, least = (0, self.settings.bins - 1)[:: 1 if self.rule.is_regression else -1]
        bins = np.searchsorted(self.edges, score, side=side)
        bins = np.where(np.isfinite(score), bins, np.where(is_ill, least, most))
        group = self._group_of(picked.fields[:, self.column])
        rows[known, (2 * group + is_ill) * self.settings.bins + bins] = 1.0
        return rows

    def _group_of(self, values: Floats) -> Indices:
        """Places of groups [n]; the last for who lacks the field."""
        n_known, edges = len(self.names) - 1, np.asarray(self.settings.edges)
        if self.settings.edges:
            return np.where(np.isfinite(values), np.searchsorted(edges, values, side="right"), n_known)
        is_one = (values >= 0) & (values < n_known) & (values == np.floor(values))
        return np.where(is_one, values, n_known).astype(np.intp)

    def advance(self, state: State, total: Floats, *, sd: float, n_declared: float) -> State:
        """The total itself."""
        del sd, n_declared
        return State(total, state.sums_done + 1)

    def read(
        self, total: Floats, *, sd: float, minimum_cell: int, n_expected: float
    ) -> Mapping[str, Estimate]:
        """AUC, sensitivity and specificity of the endpoint in each group, and how many are in it."""
        found = self._figures(total, sd=sd, minimum_cell=0 if sd else minimum_cell)
        if not sd:
            return found
        expected = self._figures(self._expected(n_expected), sd=sd, minimum_cell=minimum_cell)
        return worth_showing(found, expected)

    def suppress(self, total: Floats, minimum_cell: int) -> Floats:
        """An exact total leaves only where no cell of it is of a few patients.

        Raises:
            PolicyError: one is.
        """
        if ((total > 0) & (total < minimum_cell)).any():
            raise PolicyError(
                "cell-too-small",
                f"a cell of a subgroup holds fewer than {minimum_cell} patients",
                hint="ask for noised tables (validation.release_class=dp), or for fewer bins and bands",
            )
        return total

    def _figures(self, total: Floats, *, sd: float, minimum_cell: int) -> dict[str, Estimate]:
        bins = self.settings.bins
        cells = total.reshape(len(self.names), 2, bins)
        found = support_of(self.names, cells.sum(axis=(1, 2)), sd * math.sqrt(2 * bins), minimum_cell)
        cut = int(np.searchsorted(self.edges, self.rule.output_cuts[0])) + 1
        is_low = np.arange(bins) < cut
        is_called = is_low if self.rule.is_regression else ~is_low
        variance = np.full((2, bins), sd**2)
        ill, well = np.zeros((2, bins), dtype=bool), np.zeros((2, bins), dtype=bool)
        ill[1], well[0] = True, True
        for name, group in zip(self.names, cells, strict=True):
            ranked = group[:, ::-1] if self.rule.is_regression else group
            found[f"AUC, {name}"] = auc_of(ranked[1], ranked[0], (sd, sd), minimum_cell)
            for word, hit, of in (
                ("sensitivity", ill & is_called, ill),
                ("specificity", well & ~is_called, well),
            ):
                found[f"{word}, {name}"] = share_of(group, variance, hit, of, minimum_cell)
        return found

    def _expected(self, n: float) -> Floats:
        """The total of ``n`` patients in groups of one size, of scores that tell the endpoint."""
        bins, groups = self.settings.bins, len(self.names) - 1
        middles = (np.arange(bins) + 0.5) / bins
        centres = (0.65, 0.35) if self.rule.is_regression else (0.35, 0.65)
        bells = [np.exp(-0.5 * ((middles - centre) / 0.25) ** 2) for centre in centres]
        shares = (1.0 - _PREVALENCE, _PREVALENCE)
        one = np.stack([s * bell / bell.sum() for s, bell in zip(shares, bells, strict=True)])
        none = np.zeros_like(one)
        return np.concatenate([*[n / groups * one] * groups, none]).ravel()


def _names_of(field: ClinicalField, edges: tuple[float, ...]) -> tuple[str, ...]:
    """Of a field's groups, in order, and of those who lack it."""
    if field.kind == "category":
        return tuple(f"{field.name} {word}" for word in (*field.categories, UNKNOWN))
    bands = [
        f"{field.name} < {edges[0]:g}",
        *(f"{field.name} {low:g} to {high:g}" for low, high in pairwise(edges)),
        f"{field.name} ≥ {edges[-1]:g}",
    ]
    return (*bands, f"{field.name} {UNKNOWN}")
