"""Writes the clinical table as a hospital exports it: its own DXA scale, units, words and gaps.

Owns the cells; which rows exist is decided by the folder's writer. Column names are those of
``configs/cohort/hip_bmd.yaml``, of a follow-up those of ``hip_fracture.yaml``; unit columns are
``<field>_unit``.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np

from server.synthetic.exams import SyntheticExam, Value
from server.synthetic.follow_up import FollowUp
from server.synthetic.hospitals import DxaVendor, SyntheticSite

Row = dict[str, str]
COLUMNS = (
    "patient_id",
    "exam_date",
    "age",
    "sex",
    "height",
    "height_unit",
    "weight",
    "weight_unit",
    "bmi",
    "alcohol",
    "activity",
    "smoking",
    "prior_fracture",
    "bmd_neck",
)
FOLLOW_UP_COLUMNS = ("fracture_years", "fracture_status")
# sBMD = a + b·BMD: Lu et al., Osteoporos Int 2001;12:438
STANDARDISED_BMD: dict[DxaVendor, tuple[float, float]] = {
    "hologic": (0.019, 1.087),
    "lunar": (-0.023, 0.939),
    "norland": (0.006, 0.985),
}
SPELLINGS: dict[tuple[str, str], tuple[str, ...]] = {
    ("sex", "female"): ("female", "F", "f", "w"),
    ("sex", "male"): ("male", "M", "m"),
    ("smoking", "never"): ("never", "no", "n"),
    ("smoking", "former"): ("former", "ex"),
    ("smoking", "current"): ("current", "yes"),
    ("prior_fracture", "no"): ("no", "0", "n"),
    ("prior_fracture", "yes"): ("yes", "1", "y"),
    ("fracture_status", "fracture"): ("hip fracture", "fracture", "1"),
    ("fracture_status", "death"): ("death", "died", "2"),
    ("fracture_status", "alive"): ("alive", "0"),
}
EMPTY_SPELLINGS = ("", "", "NA", "n/a")
KG_PER_POUND = 0.45359237
KG_PER_STONE = 6.35029318


@dataclass(frozen=True)
class RowFaults:
    """What is wrong with a row on purpose."""

    lacks_required: bool = False
    lacks_label: bool = False
    has_unknown_unit: bool = False
    has_value_out_of_range: bool = False
    has_bmd_in_mg: bool = False


def to_vendor_scale(bmd_hologic: float, vendor: DxaVendor) -> float:
    """A Hologic femoral-neck BMD as this vendor's scanner would have printed it, in g/cm²."""
    hologic_a, hologic_b = STANDARDISED_BMD["hologic"]
    a, b = STANDARDISED_BMD[vendor]
    return (hologic_a + hologic_b * bmd_hologic - a) / b


def format_row(
    site: SyntheticSite,
    exam: SyntheticExam,
    *,
    patient_id: str,
    day: date,
    rng: np.random.Generator,
    follow_up: FollowUp | None = None,
    faults: RowFaults = RowFaults(),
) -> Row:
    """The cells of one exam as this site writes them; with its follow-up where that is known."""
    row = format_fields(site, exam.clinical, patient_id=patient_id, day=day, rng=rng)
    bmd = to_vendor_scale(exam.bmd_g_cm2, site.dxa_vendor)
    row["bmd_neck"] = _number(site, bmd, 3)
    if follow_up is not None:
        years, status = FOLLOW_UP_COLUMNS
        row[years] = _number(site, follow_up.years_from(day), 3)
        row[status] = _cell(site, status, follow_up.ending, rng)
    _spoil(site, row, exam, faults, rng)
    return row


def format_fields(
    site: SyntheticSite,
    record: Mapping[str, Value],
    *,
    patient_id: str,
    day: date,
    rng: np.random.Generator,
) -> Row:
    """The cells of a patient's number, day and clinical fields, without a label."""
    row = {"patient_id": patient_id, "exam_date": day.isoformat()}
    for field in ("age", "sex", "bmi", "alcohol", "activity", "smoking", "prior_fracture"):
        row[field] = _cell(site, field, record[field], rng)
    row["height"], row["height_unit"] = _height(site, record["height"], rng)
    row["weight"], row["weight_unit"] = _weight(site, record["weight"], rng)
    return row


def write_table(
    path: Path, site: SyntheticSite, rows: Iterable[Row], *, label_column: str = COLUMNS[-1]
) -> None:
    """The rows as CSV with this site's separator; columns of units, of follow-up where there are."""
    follow_up = FOLLOW_UP_COLUMNS if site.followed_until else ()
    columns = (*COLUMNS[:-1], label_column, *follow_up)
    names = [name for name in columns if name != "height_unit" or site.metres_share > 0]
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(
            stream, names, delimiter=site.separator, extrasaction="ignore", lineterminator="\n"
        )
        writer.writeheader()
        writer.writerows(rows)


def _cell(site: SyntheticSite, field: str, value: Value, rng: np.random.Generator) -> str:
    if value is None:
        return EMPTY_SPELLINGS[int(rng.integers(len(EMPTY_SPELLINGS)))]
    if isinstance(value, str):
        words = SPELLINGS[field, value]
        return words[int(rng.integers(len(words)))]
    return _number(site, value, 0 if value == int(value) else 1)


def _number(site: SyntheticSite, value: float, digits: int) -> str:
    return f"{value:.{digits}f}".replace(".", site.decimal)


def _height(site: SyntheticSite, value: Value, rng: np.random.Generator) -> tuple[str, str]:
    if isinstance(value, float) and rng.random() < site.metres_share:
        return _number(site, value / 100.0, 3), "m"
    return _cell(site, "height", value, rng), "cm"


def _weight(site: SyntheticSite, value: Value, rng: np.random.Generator) -> tuple[str, str]:
    if isinstance(value, float) and rng.random() < site.pounds_share:
        return _number(site, value / KG_PER_POUND, 1), "lb"
    return _cell(site, "weight", value, rng), "kg"


def _spoil(
    site: SyntheticSite,
    row: Row,
    exam: SyntheticExam,
    faults: RowFaults,
    rng: np.random.Generator,
) -> None:
    if faults.lacks_required:
        row["sex" if rng.random() < 0.5 else "age"] = ""
    if faults.lacks_label:
        row.update({name: "" for name in (COLUMNS[-1], *FOLLOW_UP_COLUMNS) if name in row})
    if faults.has_unknown_unit:
        row["weight"] = _number(site, exam.patient.weight_kg / KG_PER_STONE, 1)
        row["weight_unit"] = "st"
    if faults.has_value_out_of_range:
        # decimetres in a column of centimetres
        row["height"], row["height_unit"] = _number(site, exam.patient.height_cm / 10.0, 1), "cm"
    if faults.has_bmd_in_mg:
        bmd = to_vendor_scale(exam.bmd_g_cm2, site.dxa_vendor)
        row["bmd_neck"] = _number(site, 1000.0 * bmd, 0)
