"""A patient as one row of columns: pooled image tokens, features of films, clinical fields.

A row is the mean over the patient's labelled exams of the sources that a layout names, in its order;
by default [the exam's mean image token · numbers in public SDs · categories one-hot · "missing" marks],
the columns of the linear head in the same order. Every column is publicly scaled and has a public
range, to which it is clipped. Sums run over exams, films and tokens in one fixed order by element, so
that a row is that patient's alone, bit for bit. Owns ``Column``, ``Columns`` and the way from padded
patients. Imports the cohort schema only.

Legend: n patients · s film slots of a patient · u exams of a patient · t tokens · c channels ·
k fields · f columns.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shared.exam.schema import ClinicalField

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# Norm to which an encoder's file scales its pooled token, by constants of public films.
IMAGE_NORM = 3.0
# A column is clipped this many public SDs from its centre.
REACH_SD = 4.0
# Shares that are not known before they are measured: a category is held by half, a value is missing in
# a tenth; the SD of a mark of share p is √(p(1 − p)).
_CATEGORY_SHARE, _MISSING_SHARE = 0.5, 0.1


@dataclass(frozen=True, kw_only=True)
class Column:
    """What is public of a column: its name, its source's name, its range, and what is usual in it."""

    name: str
    source: str
    low: float
    high: float
    centre: float
    spread: float
    is_mark: bool = False


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Which sources follow each other in a row.

    ``film``: the columns of each source that is measured on films, in the order in which they lie
    beside each other in ``PaddedPatients.film_columns``.
    """

    order: tuple[str, ...] = ("image", "clinical")
    film: Mapping[str, tuple[Column, ...]] = dataclasses.field(default_factory=dict)

    @property
    def film_width(self) -> int:
        """Columns of all sources of films."""
        return sum(len(columns) for columns in self.film.values())


USUAL = Layout()


@dataclass(frozen=True)
class Columns:
    """Patients as learners of tables take them.

    Shapes:
        columns [n,f]; target [n]: the label in public standard units (mean over the patient's
        labelled exams) or the class index (of the earliest), NaN where there is none.
    """

    columns: Floats
    target: Floats

    def __len__(self) -> int:
        """Number of patients."""
        return len(self.target)

    def select(self, indices: Sequence[int], /) -> Columns:
        """The patients at ``indices``, in that order."""
        rows = np.asarray(indices, dtype=np.intp)
        return Columns(self.columns[rows], self.target[rows])

    def filled(self, size: int, /) -> Columns:
        """The same patients and after them, up to ``size``, rows of zeros."""
        missing = max(size - len(self), 0)
        columns = np.pad(self.columns, ((0, missing), (0, 0)))
        return Columns(columns, np.pad(self.target, (0, missing)))


class PaddedPatients(Protocol):
    """The arrays of ``shared.train.patients.PatientBatch`` that columns are made of."""

    @property
    def tokens(self) -> ArrayLike:
        """[n,s,t,c]."""

    @property
    def film_exam(self) -> ArrayLike:
        """[n,s], the exam that a slot's film belongs to, −1 for an empty slot."""

    @property
    def film_columns(self) -> ArrayLike:
        """[n,s,f], what sources of films say of each slot's film."""

    @property
    def fields(self) -> ArrayLike:
        """[n,u,k]."""

    @property
    def field_mask(self) -> ArrayLike:
        """[n,u,k]."""

    @property
    def target(self) -> ArrayLike:
        """[n,u]."""

    @property
    def exam_mask(self) -> ArrayLike:
        """[n,u]."""


def name_columns(
    fields: Sequence[ClinicalField], *, channels: int, layout: Layout = USUAL
) -> tuple[Column, ...]:
    """The columns of these clinical fields beside an image of so many channels (0: none), in order."""
    spread = IMAGE_NORM / math.sqrt(channels) if channels else 0.0
    image = tuple(_number(f"image[{channel}]", "image", spread) for channel in range(channels))
    columns = {"image": image, **layout.film, "clinical": _name_clinical(fields)}
    return tuple(column for source in layout.order for column in columns[source])


def _name_clinical(fields: Sequence[ClinicalField]) -> tuple[Column, ...]:
    numbers = [field for field in fields if field.kind == "number"]
    categories = [
        f"{field.name}={word}"
        for field in fields
        if field.kind == "category"
        for word in field.categories
    ]
    clinical = [_number(field.name, "clinical", 1.0) for field in numbers]
    words = [_mark(name, _CATEGORY_SHARE) for name in categories]
    missing = [_mark(f"{field.name} is missing", _MISSING_SHARE) for field in fields]
    return (*clinical, *words, *missing)


def _number(name: str, source: str, spread: float) -> Column:
    reach = REACH_SD * spread
    return Column(name=name, source=source, low=-reach, high=reach, centre=0.0, spread=spread)


def _mark(name: str, share: float) -> Column:
    return Column(
        name=name,
        source="clinical",
        low=0.0,
        high=1.0,
        centre=share,
        spread=math.sqrt(share * (1.0 - share)),
        is_mark=True,
    )


def clip_columns(values: Floats, columns: Sequence[Column]) -> Floats:
    """Values [n,f] within each column's public range; NaN stays."""
    low = np.array([column.low for column in columns])
    high = np.array([column.high for column in columns])
    clipped: Floats = np.clip(values, low, high)
    return clipped


def make_columns(
    patients: PaddedPatients,
    fields: Sequence[ClinicalField],
    *,
    is_class: bool,
    channels: int,
    layout: Layout = USUAL,
) -> Columns:
    """One row per patient.

    Args:
        patients: with their tokens in memory.
        fields: the cohort schema's, in its order.
        is_class: whether the target is a class index.
        channels: of an image token; 0 leaves the image out.
        layout: which sources follow each other.
    """
    exams = _exams_of(patients, fields, channels, layout)
    total, count = np.zeros_like(exams.values[:, 0]), np.zeros(len(exams.is_labelled))
    target = np.zeros(len(count))
    for exam in range(exams.is_labelled.shape[1]):
        here = exams.is_labelled[:, exam]
        is_first = here & (count == 0)
        label = exams.target[:, exam]
        # Adding an exact 0 changes nothing, so exams that others have cannot be seen in a row.
        total += np.where(here[:, None], exams.values[:, exam], 0.0)
        target += np.where(is_first if is_class else here, label, 0.0)
        count += here
    shown = np.maximum(count, 1.0)
    values = total / shown[:, None]
    values[count == 0] = np.nan
    target = np.where(count > 0, target if is_class else target / shown, np.nan)
    columns = name_columns(fields, channels=channels, layout=layout)
    return Columns(clip_columns(values, columns), target)


@dataclass(frozen=True)
class _Exams:
    """values [n,u,f], target [n,u], is_labelled [n,u]."""

    values: Floats
    target: Floats
    is_labelled: Bools


def _exams_of(
    patients: PaddedPatients, fields: Sequence[ClinicalField], channels: int, layout: Layout
) -> _Exams:
    """Every exam's columns: the one place that knows how patients are laid out."""
    is_labelled = np.asarray(patients.exam_mask, dtype=np.bool_)
    film_exam, n_exams = np.asarray(patients.film_exam), is_labelled.shape[1]
    values: dict[str, Floats] = {}
    if "clinical" in layout.order:
        values["clinical"] = _clinical(patients, fields)
    if channels and "image" in layout.order and "image" not in layout.film:
        values["image"] = _mean_token(np.asarray(patients.tokens), film_exam, n_exams=n_exams)
    if layout.film:
        # A film's columns are as one token of it.
        one = np.asarray(patients.film_columns)[:, :, None]  # [n,s,1,f]
        found = _mean_token(one, film_exam, n_exams=n_exams)
        ends = np.cumsum([len(columns) for columns in layout.film.values()])
        values |= dict(zip(layout.film, np.split(found, ends[:-1], axis=2), strict=True))
    return _Exams(
        values=np.concatenate([values[name] for name in layout.order if name in values], axis=2),
        target=np.asarray(patients.target, dtype=np.float64),
        is_labelled=is_labelled,
    )


def _mean_token(tokens: NDArray[np.float32], film_exam: NDArray[np.int64], *, n_exams: int) -> Floats:
    """Mean over an exam's films and tokens, 0 where it has none: [n,s,t,c], [n,s] -> [n,u,c]."""
    n, s, t, c = tokens.shape
    total, count = np.zeros((n, n_exams, c)), np.zeros((n, n_exams, 1))
    exams = np.arange(n_exams)
    for slot in range(s):
        here = (film_exam[:, slot, None] == exams)[..., None]  # [n,u,1]
        for token in range(t):
            film = tokens[:, slot, token].astype(np.float64)[:, None]  # [n,1,c]
            total += np.where(here, film, 0.0)
        count += here * float(t)
    mean: Floats = total / np.maximum(count, 1.0)
    return mean


def _clinical(patients: PaddedPatients, fields: Sequence[ClinicalField]) -> Floats:
    """Numbers, categories one-hot, missing marks: [n,u,k] -> [n,u,f − c]."""
    values = np.asarray(patients.fields, dtype=np.float64)
    present = np.asarray(patients.field_mask, dtype=np.bool_)
    numbers, categories, missing = [], [], []
    for place, field in enumerate(fields):
        value, here = values[..., place], present[..., place]
        missing.append(np.where(here, 0.0, 1.0))
        if field.kind == "number":
            reached = np.clip(value, -REACH_SD, REACH_SD)
            numbers.append(np.where(here, reached, 0.0))
        else:
            categories += [
                (here & (value == index)).astype(np.float64) for index in range(len(field.categories))
            ]
    if not fields:
        return np.zeros((*present.shape[:-1], 0))
    return np.stack([*numbers, *categories, *missing], axis=-1)
