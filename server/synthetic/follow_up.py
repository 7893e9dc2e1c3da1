"""What became of a patient after an exam: a hip fracture, death before one, or alive at the last look.

Owns the hazards of both. Fracture: by age and sex as FRAX gives it, by BMD and prior fracture as
meta-analyses do, times what else is true of a hospital's patients. Death: of a life table, by age and
sex alone. Follow-up ends for everybody on one day, and by nothing else. Imports population.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from server.synthetic.population import Patient, Sex

Ending = Literal["fracture", "death", "alive"]

# Chance of dying within a year at 60 and at 80: US Social Security, period life table, about 2000
YEARLY_DEATH: dict[Sex, tuple[float, float]] = {
    "female": (0.007740, 0.049527),
    "male": (0.012263, 0.071687),
}
# Hip fracture within ten years at 60 and at 80, T-score −2, no other risk factor, United Kingdom:
# Kanis et al., Osteoporos Int 2008;19:385, table 3
TEN_YEAR_FRACTURE: dict[Sex, tuple[float, float]] = {"female": (0.014, 0.044), "male": (0.019, 0.034)}
# Of hip fracture per SD of femoral-neck BMD at 65: Johnell et al., J Bone Miner Res 2005;20:1185
PER_SD_OF_BMD: dict[Sex, float] = {"female": 2.88, "male": 2.94}
# 1.85, of whose excess BMD explains 22 %: Kanis et al., Bone 2004;35:375
OF_PRIOR_FRACTURE = 1.0 + (1.0 - 0.22) * (1.85 - 1.0)
_REFERENCE_T_SCORE = -2.0
_AGES = (60.0, 80.0)
_SPAN_YEARS = 10
DAYS_PER_YEAR = 365.25


@dataclass(frozen=True)
class FollowUp:
    """The day on which a patient's follow-up ended, and how."""

    day: date
    ending: Ending

    def years_from(self, day: date) -> float:
        """How long after a day it ended, in years."""
        return (self.day - day).days / DAYS_PER_YEAR


def draw_follow_up(
    patient: Patient, *, since: date, until: date, hazard_ratio: float, rng: np.random.Generator
) -> FollowUp:
    """What comes first after ``since``: a hip fracture, death, or ``until``.

    Args:
        patient: as of ``since``; BMD and prior fracture count as they are then.
        since: alive and without a hip fracture on this day.
        until: nobody is followed beyond.
        hazard_ratio: of a hip fracture, for what is true of these patients and not recorded.
        rng: draws two numbers.
    """
    years = max((until - since).days / DAYS_PER_YEAR, 0.0)
    ages = patient.age_years + np.arange(math.ceil(years)) + 0.5
    fracture = hazard_ratio * np.array([fracture_hazard(patient, age) for age in ages])
    death = np.array([death_hazard(patient.sex, age) for age in ages])
    times: dict[Ending, float] = {
        "fracture": _years_until(fracture, rng),
        "death": _years_until(death, rng),
        "alive": years,
    }
    ending = min(times, key=lambda each: times[each])
    day = since + timedelta(days=math.ceil(times[ending] * DAYS_PER_YEAR))
    return FollowUp(min(day, max(until, since)), ending)


def death_hazard(sex: Sex, age_years: float) -> float:
    """Per year; its logarithm rises evenly with age (Gompertz)."""
    young, old = (-math.log1p(-chance) for chance in YEARLY_DEATH[sex])
    return _by_age((young, old), _AGES, age_years)


def fracture_hazard(patient: Patient, age_years: float) -> float:
    """Of a hip fracture at an age, per year of a life, before a hospital's own ratio."""
    yearly = [
        chance / _lived_years(patient.sex, age)
        for chance, age in zip(TEN_YEAR_FRACTURE[patient.sex], _AGES, strict=True)
    ]
    middle = [age + _SPAN_YEARS / 2 for age in _AGES]
    of_bmd = PER_SD_OF_BMD[patient.sex] ** (_REFERENCE_T_SCORE - patient.t_score)
    of_history = OF_PRIOR_FRACTURE if patient.prior_fracture else 1.0
    of_age = _by_age((yearly[0], yearly[1]), (middle[0], middle[1]), age_years)
    return float(of_age * of_bmd * of_history)


def _lived_years(sex: Sex, age_years: float) -> float:
    """Of the ten years from an age on, how many are lived on average."""
    hazards = [death_hazard(sex, age_years + year + 0.5) for year in range(_SPAN_YEARS)]
    return float(np.exp(-(np.cumsum(hazards) - np.array(hazards) / 2)).sum())


def _by_age(values: tuple[float, float], ages: tuple[float, float], age_years: float) -> float:
    """The exponential through two values at two ages."""
    share = (age_years - ages[0]) / (ages[1] - ages[0])
    return float(values[0] * (values[1] / values[0]) ** share)


def _years_until(hazards: NDArray[np.float64], rng: np.random.Generator) -> float:
    """When the hazards of consecutive years add up to a draw; infinite if never."""
    summed = np.concatenate([[0.0], np.cumsum(hazards)])
    return float(np.interp(rng.exponential(), summed, np.arange(len(summed)), right=np.inf))
