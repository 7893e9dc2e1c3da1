"""What a hospital wants to know of its own cohort before anybody trains on it, as plain numbers.

For the site's eyes only: exact counts and single exams. Nothing here may pass the
gate. Imports the cohort; draws nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from client.cohort.folder import Cohort, Exam
from client.cohort.split import SPLITS
from client.site.linkage import Pseudonyms
from shared.exam.schema import BmdLabel, NumberField

Floats = NDArray[np.float64]
# Robust standard deviations (1.4826 × median absolute deviation) from the median.
OUTLYING = 4.0


@dataclass(frozen=True)
class SplitCount:
    """How many of what are in a split."""

    split: str
    n_patients: int
    n_exams: int
    n_films: int
    n_labelled: int
    classes: dict[str, int]


@dataclass(frozen=True)
class Scanner:
    """Films of one manufacturer and presentation intent, how light and how rich in contrast."""

    manufacturer: str
    intent: str
    n_films: int
    mean: float
    contrast: float
    pixel_mm: str


@dataclass(frozen=True)
class Outlier:
    """One value, or one film, far from the cohort's middle; ``image`` is its row among the images."""

    exam: str
    patient: str
    what: str
    value: str
    middle: str
    deviations: float
    image: int | None = None


def count_splits(cohort: Cohort) -> list[SplitCount]:
    """Every split that has anybody in it."""
    counted = []
    for split in SPLITS:
        exams = [exam for exam in cohort.exams if exam.split == split]
        labels = [exam.label for exam in exams if exam.label is not None]
        counted.append(
            SplitCount(
                split=split,
                n_patients=len({exam.patient for exam in exams}),
                n_exams=len(exams),
                n_films=sum(len(exam.films) for exam in exams),
                n_labelled=len(labels),
                classes=dict(Counter(label.class_name for label in labels if label.class_name)),
            )
        )
    return [each for each in counted if each.n_exams]


def numbers_of(exams: Sequence[Exam], field: str) -> Floats:
    """The values of a number field that are there."""
    values = [exam.values.get(field) for exam in exams]
    return np.array([value for value in values if isinstance(value, int | float)], dtype=np.float64)


def label_numbers(exams: Sequence[Exam]) -> Floats:
    """The labels that are numbers: BMD in g/cm² on the reference vendor's scale, for instance."""
    labels = [exam.label.number for exam in exams if exam.label is not None]
    return np.array([value for value in labels if value is not None], dtype=np.float64)


def class_thresholds(label: object) -> list[tuple[str, float]]:
    """Where a BMD's classes begin, in g/cm²."""
    if not isinstance(label, BmdLabel):
        return []
    names = label.classes[1:]
    return [
        (name, label.reference_mean + label.reference_sd * t_score)
        for name, t_score in zip(names, label.class_t_scores, strict=True)
    ]


def missing_shares(cohort: Cohort) -> list[tuple[str, float]]:
    """Share of exams without a value, field by field, and without a label; none without exams."""
    n_exams = len(cohort.exams)
    if not n_exams:
        return []
    shares = [
        (field.name, sum(exam.values.get(field.name) is None for exam in cohort.exams) / n_exams)
        for field in cohort.schema.fields
    ]
    return [*shares, ("label", sum(exam.label is None for exam in cohort.exams) / n_exams)]


def films_per_year(cohort: Cohort, pseudonyms: Pseudonyms) -> list[tuple[str, int]]:
    """Films by the year of their exam, which only this site's key can tell."""
    years: Counter[int] = Counter()
    for exam in cohort.exams:
        years[pseudonyms.date_of(exam.patient, exam.day).year] += max(1, len(exam.films))
    if not years:
        return []
    return [(str(year), years[year]) for year in range(min(years), max(years) + 1)]


def describe_images(cohort: Cohort) -> Floats:
    """Mean and standard deviation of grey inside each film, [n_films, 2]; padding is left out."""
    described = np.zeros((len(cohort.images), 2))
    for row, image in enumerate(cohort.images):
        pixels = np.asarray(image, dtype=np.float64)
        inside = pixels[:, pixels.any(axis=0)][pixels.any(axis=1)]
        if inside.size:
            described[row] = inside.mean(), inside.std()
    return described


def count_scanners(cohort: Cohort, described: Floats) -> list[Scanner]:
    """Manufacturers and presentation intents, those with most films first."""
    groups: dict[tuple[str, str], list[int]] = {}
    spacing: dict[tuple[str, str], set[float]] = {}
    for exam in cohort.exams:
        for film in exam.films:
            key = (film.manufacturer or "not named", film.presentation_intent or "not said")
            groups.setdefault(key, []).append(film.image)
            spacing.setdefault(key, set()).update([film.pixel_mm[0]] if film.pixel_mm else [])
    scanners = []
    for (manufacturer, intent), rows in groups.items():
        sizes = sorted(spacing[manufacturer, intent])
        mean, contrast = described[rows].mean(axis=0)
        scanners.append(
            Scanner(
                manufacturer=manufacturer,
                intent=intent.lower(),
                n_films=len(rows),
                mean=float(mean),
                contrast=float(contrast),
                pixel_mm=" to ".join(dict.fromkeys(f"{x:.2f}" for x in (sizes[0], sizes[-1])))
                if sizes
                else "unknown",
            )
        )
    return sorted(scanners, key=lambda each: -each.n_films)


def find_outliers(cohort: Cohort, described: Floats) -> list[Outlier]:
    """Values and films more than ``OUTLYING`` robust deviations from the middle, farthest first."""
    found: list[Outlier] = []
    numeric = [field for field in cohort.schema.fields if field.kind == "number"]
    for field in numeric:
        found += _outlying_values(cohort.exams, field)
    pairs = [(exam, film.image) for exam in cohort.exams for film in exam.films]
    for column, what in ((0, "film: mean grey"), (1, "film: contrast")):
        values = np.array([described[image, column] for _, image in pairs])
        for place, middle, deviations in _far_from_middle(values):
            exam, image = pairs[place]
            found.append(
                Outlier(
                    exam=exam.exam,
                    patient=exam.patient,
                    what=what,
                    value=f"{values[place]:.2f}",
                    middle=f"{middle:.2f}",
                    deviations=deviations,
                    image=image,
                )
            )
    return sorted(found, key=lambda each: -each.deviations)


def _outlying_values(exams: Sequence[Exam], field: NumberField) -> list[Outlier]:
    held = [exam for exam in exams if isinstance(exam.values.get(field.name), int | float)]
    values = numbers_of(held, field.name)
    return [
        Outlier(
            exam=held[place].exam,
            patient=held[place].patient,
            what=field.name,
            value=f"{values[place]:g} {field.unit}".strip(),
            middle=f"{middle:g} {field.unit}".strip(),
            deviations=deviations,
        )
        for place, middle, deviations in _far_from_middle(values)
    ]


def _far_from_middle(values: Floats) -> list[tuple[int, float, float]]:
    """(place, median, robust deviations) of what lies too far out; nothing where most are equal.

    Each side has a deviation of its own, so that the long tail of a skewed field is not all outliers.
    """
    if len(values) < 10:
        return []
    middle = float(np.median(values))
    away = np.abs(values - middle)
    spread = np.zeros(len(values))
    for side in (values <= middle, values >= middle):
        spread[side] = 1.4826 * float(np.median(away[side]))
    distance = np.divide(away, spread, out=np.zeros(len(values)), where=spread > 0)
    return [
        (int(place), middle, float(distance[place])) for place in np.flatnonzero(distance > OUTLYING)
    ]
