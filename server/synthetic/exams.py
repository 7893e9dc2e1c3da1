"""Draws exams of a synthetic site: films, what the clinical table records, and the measured BMD.

Owns the step from a person to a hospital's records in canonical units, and the ceiling: how well
BMD could be regressed at best. Writing files is not its business, so that thousands of exams can be
drawn for an evaluation. Imports physics, population and hospitals of this package.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from server.synthetic.beam import Scanner
from server.synthetic.hip import HipAnatomy, Side
from server.synthetic.hospitals import SyntheticSite
from server.synthetic.physics import Film, render_hip, widen
from server.synthetic.population import Patient, draw_anatomy, draw_patient, grow_older

Value = float | str | None
FIELDS = (
    "age",
    "sex",
    "height",
    "weight",
    "bmi",
    "alcohol",
    "activity",
    "smoking",
    "prior_fracture",
)


@dataclass(frozen=True)
class SyntheticExam:
    """One patient on one date.

    ``clinical`` is what was recorded, in the units of ``configs/cohort/hip_bmd.yaml``, None where
    missing. ``bmd_g_cm2`` was measured by DXA with its error; both BMD are on the Hologic scale.
    """

    number: int
    visit: int
    patient: Patient
    scanner: Scanner
    films: tuple[Film, ...]
    clinical: dict[str, Value]
    bmd_g_cm2: float


@dataclass(frozen=True)
class Ceiling:
    """Attainable R² of BMD measured by DXA, from perfect knowledge of its predictors.

    ``image_r2``: the bone's physical quantities alone, as if a film showed them without pose, blur,
    noise and scatter; ``clinical_r2``: the recorded fields alone; ``r2``: both. A model of films
    can pass ``r2`` only by chance, or by what a quadratic regression misses; what is missing to 1
    is the spread of bones between people of equal BMD and the error of DXA.
    """

    r2: float
    image_r2: float
    clinical_r2: float


def site_generator(site: SyntheticSite, seed: int, *stream: int) -> np.random.Generator:
    """A generator that only this site, seed and stream have."""
    return np.random.default_rng([seed, zlib.crc32(site.name.encode()), *stream])


def draw_exams(site: SyntheticSite, n_patients: int, rng: np.random.Generator) -> list[SyntheticExam]:
    """One exam each of fresh patients of this site: a film of one or both hips, row and BMD."""
    return [
        draw_exam(site, draw_patient(site.population, rng), number, rng) for number in range(n_patients)
    ]


def draw_exam(
    site: SyntheticSite,
    patient: Patient,
    number: int,
    rng: np.random.Generator,
    *,
    anatomy_seed: int | None = None,
    sides: tuple[Side, ...] | None = None,
) -> SyntheticExam:
    """One exam of this patient; ``anatomy_seed`` keeps the bones equal between visits."""
    seed = int(rng.integers(2**63)) if anatomy_seed is None else anatomy_seed
    scanner = site.scanners[int(rng.integers(len(site.scanners)))]
    if rng.random() < site.wide_share:
        scanner = widen(scanner, rng)
    hips = site_anatomy(site, patient, sides or draw_sides(site, rng), seed)
    return SyntheticExam(
        number=number,
        visit=0,
        patient=patient,
        scanner=scanner,
        films=tuple(render_hip(hip, scanner, rng) for hip in hips),
        clinical=record_patient(site, patient, rng),
        bmd_g_cm2=_measure_bmd(site, patient, rng),
    )


def draw_record(
    site: SyntheticSite, patient: Patient, number: int, rng: np.random.Generator
) -> SyntheticExam:
    """One exam of this patient of which there is no film."""
    return SyntheticExam(
        number=number,
        visit=0,
        patient=patient,
        scanner=site.scanners[0],
        films=(),
        clinical=record_patient(site, patient, rng),
        bmd_g_cm2=_measure_bmd(site, patient, rng),
    )


def draw_second_visit(
    site: SyntheticSite,
    first: SyntheticExam,
    years: float,
    rng: np.random.Generator,
    *,
    anatomy_seed: int,
) -> SyntheticExam:
    """The same person some years later, with the same hips filmed."""
    sides = tuple(film.side for film in first.films)
    older = grow_older(first.patient, years, rng)
    exam = draw_exam(site, older, first.number, rng, anatomy_seed=anatomy_seed, sides=sides)
    return replace(exam, visit=first.visit + 1)


def draw_sides(site: SyntheticSite, rng: np.random.Generator) -> tuple[Side, ...]:
    """Which hips are filmed: both, or either with equal chance."""
    if rng.random() < site.both_hips_share:
        return ("left", "right")
    return ("left",) if rng.random() < 0.5 else ("right",)


def site_anatomy(
    site: SyntheticSite, patient: Patient, sides: tuple[Side, ...], seed: int
) -> tuple[HipAnatomy, ...]:
    """The patient's hips, with the cortex of this site's population."""
    factor = float(np.exp(site.bone_offset))
    return tuple(
        replace(hip, cortical_mm=hip.cortical_mm * factor) for hip in draw_anatomy(patient, sides, seed)
    )


def measure_ceiling(
    site: SyntheticSite, rng: np.random.Generator, *, n_patients: int = 20_000
) -> Ceiling:
    """R² of quadratic regression on half of the patients, measured on the other half."""
    bones = np.empty((n_patients, 4))
    rows: list[list[float]] = []
    target = np.empty(n_patients)
    for index in range(n_patients):
        patient = draw_patient(site.population, rng)
        (hip,) = site_anatomy(site, patient, ("left",), int(rng.integers(2**63)))
        bones[index] = (
            np.log(hip.cortical_mm),
            np.log(hip.trabecular_share),
            hip.texture_exponent,
            np.log(hip.pelvis_share),
        )
        rows.append(_as_numbers(record_patient(site, patient, rng)))
        target[index] = _measure_bmd(site, patient, rng)
    records = np.asarray(rows)
    first, second = np.triu_indices(bones.shape[1])
    bones = np.hstack([bones, bones[:, first] * bones[:, second]])
    return Ceiling(
        r2=_regression_r2(np.hstack([bones, records]), target),
        image_r2=_regression_r2(bones, target),
        clinical_r2=_regression_r2(records, target),
    )


def _measure_bmd(site: SyntheticSite, patient: Patient, rng: np.random.Generator) -> float:
    return patient.bmd_g_cm2 * float(1.0 + site.dxa_precision * rng.normal())


def record_patient(site: SyntheticSite, patient: Patient, rng: np.random.Generator) -> dict[str, Value]:
    """What the clinic writes down: rounded, and with the site's gaps."""
    record: dict[str, Value] = {
        "age": float(int(patient.age_years)),
        "sex": patient.sex,
        "height": round(patient.height_cm * 2.0) / 2.0,
        "weight": round(patient.weight_kg, 1),
        "bmi": round(patient.bmi, 1),
        "alcohol": float(round(patient.alcohol_g_day)),
        "activity": round(patient.activity_h_week * 2.0) / 2.0,
        "smoking": patient.smoking,
        "prior_fracture": "yes" if patient.prior_fracture else "no",
    }
    for rule in site.missing:
        share = rule.share + (rule.share_above_75 if patient.age_years > 75.0 else 0.0)
        if rng.random() < share:
            record[rule.field] = None
    if record["height"] is None or record["weight"] is None:
        record["bmi"] = None  # nobody computed it
    return record


def _as_numbers(record: dict[str, Value]) -> list[float]:
    """Regression columns of a record: value or 0, presence, and the categories as indicators."""
    columns: list[float] = []
    for field in ("age", "height", "weight", "bmi", "alcohol", "activity"):
        value = record[field]
        columns += [float(value) if isinstance(value, float) else 0.0, float(value is None)]
    for field, word in (
        ("sex", "female"),
        ("smoking", "current"),
        ("smoking", "former"),
        ("prior_fracture", "yes"),
    ):
        columns += [float(record[field] == word), float(record[field] is None)]
    return columns


def _regression_r2(predictors: NDArray[np.float64], target: NDArray[np.float64]) -> float:
    design = np.hstack([predictors, np.ones((len(target), 1))])
    half = len(target) // 2
    weights, *_ = np.linalg.lstsq(design[:half], target[:half], rcond=None)
    residual = target[half:] - design[half:] @ weights
    return float(1.0 - residual.var() / target[half:].var())
