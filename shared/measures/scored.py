"""Scored patients, as measures take them, and what a measure can do. Imports the contract of sums.

Legend: n patients · m cells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from shared.errors import SettingsError
from shared.exam.schema import ClinicalField
from shared.exam.time_to_event import TimeToEventLabel
from shared.sums.contract import Floats
from shared.sums.estimate import Estimate
from shared.sums.one_sum import Rows

Bools = NDArray[np.bool_]
Indices = NDArray[np.intp]


@dataclass(frozen=True)
class Scored:
    """Outputs, one label, the clinical fields and the scanners' makers per patient.

    Shapes: outputs [n,o], the predicted target in its unit, o = 1, or each class's probability, of a
        time to event each class's likelihood; label [n], the target in its unit, or the class index;
        NaN: unlabelled. fields [n,k], numbers in the schema's units, categories by place; NaN: missing.
        makers [n], who made the scanners of a patient's films, as headers name them, each once; none
        where no header does, or without films. replaced [n,q,o], outputs with something of the patient
        replaced: each field by a public donor's for a measure that ``ReplacesFields``, bone and as much
        else for one that ``ReadsBone`` hidden; else q = 0. is_assessed [n], whether films have masks
        of bone; maps [n,3], where the model looks (``saliency``), for one that ``ReadsBone`` by maps,
        else [n,0].
    """

    outputs: Floats
    label: Floats
    fields: Floats
    makers: tuple[tuple[str, ...], ...] = ()
    replaced: Floats = field(default_factory=lambda: np.zeros((0, 0, 0)))
    is_assessed: Bools = field(default_factory=lambda: np.zeros(0, dtype=np.bool_))
    maps: Floats = field(default_factory=lambda: np.zeros((0, 0)))

    def __post_init__(self) -> None:
        if not self.makers:
            object.__setattr__(self, "makers", ((),) * len(self.label))
        if self.replaced.shape[1] == 0:
            nothing = np.zeros((len(self.label), 0, self.outputs.shape[1]))
            object.__setattr__(self, "replaced", nothing)
        if not self.is_assessed.size:
            object.__setattr__(self, "is_assessed", np.zeros(len(self.label), dtype=np.bool_))
        if self.maps.shape[1] == 0:
            object.__setattr__(self, "maps", np.zeros((len(self.label), 0)))

    def __len__(self) -> int:
        """Number of patients."""
        return len(self.label)

    def select(self, indices: Sequence[int], /) -> Scored:
        """The patients at ``indices``, in that order."""
        rows = np.asarray(indices, dtype=np.intp)
        makers = tuple(self.makers[row] for row in rows)
        return Scored(
            self.outputs[rows],
            self.label[rows],
            self.fields[rows],
            makers,
            self.replaced[rows],
            self.is_assessed[rows],
            self.maps[rows],
        )

    def filled(self, size: int, /) -> Scored:
        """The same patients and after them, up to ``size``, some with even outputs and all else 0."""
        missing = max(size - len(self), 0)

        def more(values: NDArray[Any], value: float = 0.0) -> NDArray[Any]:
            beside = ((0, 0),) * (values.ndim - 1)
            return np.pad(values, ((0, missing), *beside), constant_values=value)

        even = 1.0 / max(self.outputs.shape[1], 1)
        return Scored(
            more(self.outputs, even),
            more(self.label),
            more(self.fields),
            self.makers + ((),) * missing,
            more(self.replaced, even),
            more(self.is_assessed),
            more(self.maps),
        )


class Rule(Protocol):
    """From a label and from outputs to a class: ``shared.contract.decision.Decision``, for measures.

    Shapes: label [n], outputs [n,o] -> places of classes, or a score, [n].
    """

    @property
    def classes(self) -> tuple[str, ...]:
        """Names."""
        ...

    @property
    def operating_point(self) -> float:
        """The score from which on the endpoint is called."""
        ...

    @property
    def is_low_positive(self) -> bool:
        """Whether a low score is suspicious."""
        ...

    @property
    def is_regression(self) -> bool:
        """Whether one value grades the classes."""
        ...

    def score(self, outputs: Floats) -> Floats:
        """What ranks patients."""
        ...

    def class_of(self, label: Floats) -> Indices:
        """The true classes; −1 without a label."""
        ...

    def call(self, outputs: Floats) -> Indices:
        """The called classes."""
        ...

    def is_positive(self, label: Floats) -> NDArray[np.bool_]:
        """Who has the endpoint."""
        ...


@dataclass(frozen=True)
class MeasureTask:
    """What a measure may know of a plan: its rule of classes, and its clinical fields [k].

    ``follow_up``: the label of a time to event; None where something else is predicted.
    ``setting``: where the measure's own settings stand among a run's, for who must change them.
    ``looks_at_films``: whether what the model says depends on films.
    ``has_places``: whether places of a film can be hidden one by one from all that it reads of it.
    """

    rule: Rule
    fields: tuple[ClinicalField, ...]
    setting: str = "measure"
    follow_up: TimeToEventLabel | None = None
    looks_at_films: bool = True
    has_places: bool = True

    def require_films(self, kind: str) -> None:
        """Refuse a measure of hidden films, of a model that looks at none.

        Raises:
            SettingsError: it reads no films.
        """
        if not self.looks_at_films:
            raise SettingsError(
                "needs-films",
                f"measure {kind} needs a model that reads films, by encoder or by sources of features",
                hint="choose an encoder and a fusion that reads films, or features of films",
            )

    def require_places(self, kind: str) -> None:
        """Refuse a measure of maps, of a model that reads of a film what has no place in it.

        Raises:
            SettingsError: it reads no films, or measures of a whole film.
        """
        self.require_films(kind)
        if not self.has_places:
            raise SettingsError(
                "needs-image-tokens",
                f"measure {kind} needs a model that reads films by tokens of its encoder alone, or by "
                "cells of one grid alone",
                hint="choose features=usual, or the same token_grid above 1 for every source of films; "
                "measure=bone needs no places",
            )


class Measure(Rows[Scored], Protocol):
    """Rows of scored patients, and the figures that are read from their sum."""

    def read(
        self, total: Floats, *, sd: float, minimum_cell: int, n_expected: float
    ) -> Mapping[str, Estimate]:
        """Figures by name, each with its interval, from a total [m].

        Under noise what ``expect`` finds too wide is not shown.

        Args:
            total: of one site, or pooled.
            sd: standard deviation of the noise in each cell; 0 in a governed release.
            minimum_cell: fewest patients from whom a figure is shown.
            n_expected: patients by declared sizes.
        """
        ...

    def expected(self, n: float) -> Floats:
        """The exact total [m] of ``n`` expected patients, as real numbers."""
        ...

    def expect(self, n: float, *, sd: float, minimum_cell: int) -> Mapping[str, Estimate]:
        """The same figures of ``n`` expected patients: public values and the noise alone."""
        ...

    def suppress(self, total: Floats, minimum_cell: int) -> Floats:
        """An exact total that may leave: no cell of it from fewer patients than ``minimum_cell``.

        Raises:
            PolicyError: it cannot be brought to that.
        """
        ...


@runtime_checkable
class ReplacesFields(Protocol):
    """A measure that reads outputs with a clinical field replaced by a public donor's."""

    @property
    def replaced_fields(self) -> Sequence[int]:
        """Places of these fields among the schema's, in the order of ``Scored.replaced``."""
        ...


@runtime_checkable
class ReadsBone(Protocol):
    """A measure of films with masks of bone: by scores with bone hidden, or by maps of a model."""

    @property
    def reads_bone(self) -> Literal["hidden", "maps"]:
        """What it reads."""
        ...
