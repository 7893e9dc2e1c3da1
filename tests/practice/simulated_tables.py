"""Tables of an invented disease at four hospitals, and its cohort file, for simulations."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import yaml

SIZES = {"ash": 110, "elm": 150, "oak": 130, "hop": 90}
COLUMNS = ("patient_id", "exam_date", "age", "marker", "sex", "capacity", "stage")
STAGES = ("early", "middle", "late")
NUMBER = {"kind": "number", "column": "capacity", "unit": "l", "low": 0, "high": 6}
CLASSES = {"kind": "class", "column": "stage", "classes": list(STAGES), "is_ordered": False}
# What a run of tiny tables takes: few rounds, and no waiting.
FAST = ("federation.poll_s=0.01", "federation.rounds=4", "federation.local_steps=1")
OF_NUMBER = ("task.target_mean=3", "task.target_sd=1")


def rows_of(site: str) -> list[dict[str, str]]:
    """One hospital's patients: capacity falls with age and marker."""
    rng = np.random.default_rng(sorted(SIZES).index(site))
    rows = []
    for number in range(SIZES[site]):
        age, marker, sex = rng.normal(60, 10), rng.normal(0, 1), rng.choice(["f", "m"])
        capacity = 3 - 0.04 * (age - 60) - 0.7 * marker + 0.3 * (sex == "m") + rng.normal(0, 0.3)
        place = int(capacity < 3.4) + int(capacity < 2.7)
        values = (f"{age:.0f}", f"{marker:.3f}", sex, f"{capacity:.3f}", STAGES[place])
        rows.append(dict(zip(COLUMNS, (f"{site}{number:03d}", "2021-03-04", *values), strict=True)))
    return rows


def write_rows(path: Path, rows: list[dict[str, str]]) -> Path:
    """Rows as a CSV file."""
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_tables(folder: Path) -> dict[str, Path]:
    """A table per hospital."""
    return {site: write_rows(folder / f"{site}.csv", rows_of(site)) for site in SIZES}


def write_one_table(path: Path, column: str = "clinic") -> Path:
    """One table of all hospitals, with a column that says whose each row is."""
    rows = [{column: f"{site.title()} Hall", **row} for site in SIZES for row in rows_of(site)]
    return write_rows(path, rows)


def write_cohort(path: Path, label: dict[str, object], **changes: object) -> Path:
    """The disease's cohort file."""
    numbers = {"kind": "number", "unit": "1"}
    content = {
        "name": "invented_disease",
        "version": 1,
        "fields": [
            {"name": "age", **numbers, "low": 0, "high": 120, "reference_mean": 60, "reference_sd": 10},
            {"name": "marker", **numbers, "low": -9, "high": 9},
            {"name": "sex", "kind": "category", "categories": ["f", "m"]},
        ],
        "views": [],
        "label": label,
        "split": {"train": 0.7, "tune": 0.0, "internal": 0.3},
    }
    path.write_text(yaml.safe_dump(content | changes, sort_keys=False))
    return path
