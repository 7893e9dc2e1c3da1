"""A published simple rule of clinical fields: a public sum of coefficient × number, with a public cut.

Which patients it calls is a function of their own fields and public settings alone. Imports bins
and the contract of measures.
Legend: n patients.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import BaseModel, Field, model_validator

from shared.errors import SettingsError
from shared.measures.cut_bins import CutBins
from shared.measures.scored import MeasureTask, Scored
from shared.strict import FROZEN
from shared.sums.contract import Floats

RELEASE = "release"  # as figures call what the rule is compared with
# A rule's value is rounded to this, so that 0.2·70 − 0.2·60 is 2 and stays on its cut.
_DECIMALS = 6


class Term(BaseModel):
    """A number field of the schema, in its unit, and what it is multiplied with.

    Attributes:
        field: its name in the schema.
        times: its coefficient.
    """

    model_config = FROZEN

    field: str
    times: float = Field(allow_inf_nan=False)


class SimpleRuleSettings(BaseModel):
    """A published rule: a sum of clinical fields, and a cut.

    Attributes:
        name: as figures call it.
        terms: added up, and the intercept with them.
        intercept: added to the terms.
        calls: which values are called to have the endpoint, and so which are suspicious.
        cut: the value that tells them apart.
        bins: of its values.
        low: public lower end of its values' bins.
        high: public upper end.
    """

    model_config = FROZEN

    name: str = Field(pattern=r"^\w[\w .&-]{0,30}$")
    terms: tuple[Term, ...] = Field(min_length=1, max_length=16)
    intercept: float = 0.0
    calls: Literal["below", "up to", "from", "above"]
    cut: float
    bins: int = Field(default=6, ge=4, le=16)
    low: float
    high: float

    @model_validator(mode="after")
    def _rises(self) -> SimpleRuleSettings:
        if self.low >= self.high:
            raise ValueError(f"low must lie below high, not {self.low} and {self.high}")
        return self

    @model_validator(mode="after")
    def _is_told_from_the_release(self) -> SimpleRuleSettings:
        if self.name.casefold() == RELEASE:
            raise ValueError(f"name must be another than {RELEASE}, which the rule is compared with")
        fields = [term.field for term in self.terms]
        if len(set(fields)) < len(fields):
            raise ValueError(f"terms must name each field once, not {fields}")
        return self


@dataclass(frozen=True)
class SimpleRule:
    """``terms``: a place of a field and its coefficient, in the schema's order."""

    name: str
    terms: tuple[tuple[int, float], ...]
    intercept: float
    bins: CutBins

    @classmethod
    def build(cls, settings: SimpleRuleSettings, task: MeasureTask) -> SimpleRule:
        """The rule over a plan's fields.

        Raises:
            SettingsError: a term of what is no number field, or a cut outside.
        """
        numbers = {
            field.name: place for place, field in enumerate(task.fields) if field.kind == "number"
        }
        unknown = sorted({term.field for term in settings.terms} - set(numbers))
        if unknown:
            raise SettingsError(
                "no-such-field",
                f"terms must be of {list(numbers)}, not of {unknown}",
                hint=f"leave the comparison out, or give a rule of numbers that {settings.name} has",
            )
        bins = CutBins(
            low=settings.low,
            high=settings.high,
            n_bins=settings.bins,
            cut=settings.cut,
            is_low_suspicious=settings.calls in ("below", "up to"),
            is_cut_called=settings.calls in ("up to", "from"),
        ).require_cut_inside(of=settings.name, setting=f"{task.setting}.rule")
        terms = sorted((numbers[term.field], term.times) for term in settings.terms)
        return cls(settings.name, tuple(terms), settings.intercept, bins)

    def values(self, patients: Scored) -> Floats:
        """The rule's value [n]; NaN for a patient who lacks a field or whose value is no number."""
        total = np.full(len(patients), self.intercept)
        with np.errstate(over="ignore", invalid="ignore"):
            for column, coefficient in self.terms:
                total = total + coefficient * patients.fields[:, column]
            found: Floats = np.where(np.isfinite(total), np.round(total, _DECIMALS), np.nan)
        return np.where(np.isfinite(found), found, np.nan)
