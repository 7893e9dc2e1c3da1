"""Example tables: what the synthetic hospitals would export without their films, to try things with.

One table and one profile per hospital, as a simulation and an intake read them. Imports synthetic.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import yaml

from server.synthetic.clinical_table import Row, format_row, write_table
from server.synthetic.exams import draw_record, site_generator
from server.synthetic.hospitals import DEMO_SITES, SyntheticSite, intake_profile
from server.synthetic.identity import draw_person, follow_person
from shared.machine.files import write_atomic

COHORT = "hip_table"
_STREAM = 6  # of a site's generator; the others draw films and their rows


def write_example(folder: Path, *, seed: int = 1) -> dict[str, Path]:
    """Write a table of each hospital of the demo, and how that table is to be read beside it.

    Each hospital has its own size, separator, units, DXA scanner and gaps; nothing is wrong on purpose.

    Args:
        folder: created if absent; files of these names are replaced.
        seed: equal seeds give equal bytes.

    Returns:
        Each table by the hospital's name.
    """
    return {site.name: write_hospital_table(folder, site, seed=seed) for site in DEMO_SITES}


def write_hospital_table(folder: Path, site: SyntheticSite, *, seed: int) -> Path:
    """Write one hospital's table and how it is to be read; arguments as ``write_example``."""
    folder.mkdir(parents=True, exist_ok=True)
    table = folder / f"{site.name}.csv"
    write_table(table, site, _rows(site, seed))
    profile = yaml.safe_dump(intake_profile(site), sort_keys=False)
    write_atomic(folder / f"{site.name}.profile.yaml", profile.encode())
    return table


def _rows(site: SyntheticSite, seed: int) -> list[Row]:
    """One exam of each patient of the site's period."""
    rows = []
    for number in range(site.n_patients):
        rng = site_generator(site, seed, _STREAM, number)
        person = draw_person(site, seed, number)
        exam = draw_record(site, person.patient, number, rng)
        day = person.first_day + timedelta(days=int(rng.integers(46)))
        end = follow_person(site, seed, person, exam.patient, since=day)
        row = format_row(site, exam, patient_id=person.patient_id, day=day, rng=rng, follow_up=end)
        rows.append(row)
    return rows
