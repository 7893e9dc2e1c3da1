"""Invented identities: names and numbers that look like a person's and belong to nobody.

They exist to be searched for: nothing that leaves a site may contain one. Surnames are invented
words, so that a hit is never a coincidence. Imports exams of this package.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

from server.synthetic.exams import site_generator
from server.synthetic.follow_up import FollowUp, draw_follow_up
from server.synthetic.hospitals import SyntheticSite
from server.synthetic.population import Patient, draw_patient

FIRST_PARTS = ("Quill", "Tarrow", "Ombre", "Vexley", "Zindel", "Marrow", "Hask", "Ferrin", "Oswin")
LAST_PARTS = ("feather", "wick", "mond", "thorpe", "quist", "dahl", "brook", "stead", "gard")
GIVEN = {
    "female": ("Odalys", "Ingrith", "Maribel", "Thessaly", "Perpetua", "Wilhelmine", "Jorunn"),
    "male": ("Anselm", "Caspian", "Leopold", "Thaddeus", "Ragnvald", "Barnaby", "Isidor"),
}


@dataclass(frozen=True)
class Person:
    """One patient of a site: reproducible from site, seed and number alone."""

    number: int
    patient: Patient
    anatomy_seed: int
    patient_id: str
    name: str
    birth_day: date
    first_day: date


def draw_person(
    site: SyntheticSite, seed: int, number: int, *, first_day: date | None = None
) -> Person:
    """The patient of this number, seen first on ``first_day`` or on a day of the site's period."""
    rng = site_generator(site, seed, 1, number)
    patient = draw_patient(site.population, rng)
    anatomy_seed = int(rng.integers(2**63))
    # a second visit may follow within two years, still inside the period
    last_start = max((site.last_day - site.first_day).days - 760, 1)
    day = first_day or site.first_day + timedelta(days=int(rng.integers(last_start)))
    return Person(
        number=number,
        patient=patient,
        anatomy_seed=anatomy_seed,
        patient_id=f"{site.name[:2].upper()}-{_scatter(number, seed):06d}",
        name=_name(patient.sex, rng),
        birth_day=day - timedelta(days=int(patient.age_years * 365.25)),
        first_day=day,
    )


def follow_person(
    site: SyntheticSite, seed: int, person: Person, patient: Patient, *, since: date
) -> FollowUp | None:
    """What became of a person, who on ``since`` is as ``patient``; None where the site did not ask."""
    if site.followed_until is None:
        return None
    return draw_follow_up(
        patient,
        since=since,
        until=site.followed_until,
        hazard_ratio=site.fracture_hazard_ratio,
        rng=site_generator(site, seed, 7, person.number),
    )


def _scatter(number: int, seed: int) -> int:
    """A patient number without visible order: multiplication modulo a prime keeps them distinct."""
    return (100_003 + number + 7919 * (seed % 97)) * 524_287 % 999_983


def _name(sex: str, rng: np.random.Generator) -> str:
    first = FIRST_PARTS[int(rng.integers(len(FIRST_PARTS)))]
    last = LAST_PARTS[int(rng.integers(len(LAST_PARTS)))]
    given = GIVEN[sex]
    return f"{first}{last}^{given[int(rng.integers(len(given)))]}"
