"""Draws patients: who they are, their femoral-neck BMD, and the hip that a film will see.

Owns the epidemiology. BMD is on the Hologic scale, in g/cm². The general profile reproduces the
femoral-neck prevalence of NHANES 2005–06 at 50 and older (Looker et al., J Bone Miner Res
2010;25:64); a referred profile shifts BMD until its declared osteoporosis prevalence holds.
Effects on BMD are ours, sized so that clinical variables alone explain 0.2–0.3 of the variance.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np
from scipy import optimize, stats

from server.synthetic.hip import HipAnatomy, Side, soft_tissue_cm

Sex = Literal["female", "male"]
Smoking = Literal["never", "former", "current"]

OSTEOPOROSIS_G_CM2 = 0.858 - 2.5 * 0.120  # NHANES III white women 20–29, Hologic femoral neck
OSTEOPENIA_G_CM2 = 0.858 - 1.0 * 0.120
BMD_AT_50 = {"female": 0.797, "male": 0.847}  # fits Looker's prevalences together with the next two
LOSS_PER_YEAR = {"female": 0.0077, "male": 0.0045}
BMD_SD = {"female": 0.100, "male": 0.110}  # between people of the same sex and age
HEIGHT_CM = {"female": (162.0, 6.5), "male": (175.5, 7.0)}
BMI = {"female": (27.3, 0.185), "male": (27.6, 0.155)}  # median, SD of the logarithm
BMD_PER_KG = 0.0012
BMD_PER_HOUR = 0.0030  # per weekly hour of activity
BMD_PER_GRAM = -0.0008  # per daily gram of alcohol
BMD_OF_SMOKING = {"never": 0.006, "former": -0.002, "current": -0.022}
FRACTURE_ODDS = (-1.25, 1.3)  # log odds at the young mean, times odds ratio per SD of BMD lost
MEAN_ACTIVITY_H, MEAN_ALCOHOL_G = 4.0, 8.0
TYPICAL_BMD = 0.70
CORTICAL_MM, TRABECULAR_SHARE, TEXTURE_EXPONENT = 1.6, 0.14, 2.2  # at TYPICAL_BMD
# SD between people of equal BMD: of two logarithms and of the exponent
CORTICAL_SD, TRABECULAR_SD, TEXTURE_SD = 0.19, 0.30, 0.42


@dataclass(frozen=True)
class PopulationProfile:
    """Who comes to a hospital.

    ``decade_shares``: shares of ages 50–59, 60–69, 70–79, 80–89. ``osteoporosis_prevalence``:
    declared prevalence, reached by one shift of BMD; None leaves the general population's BMD.
    """

    women_share: float
    decade_shares: tuple[float, float, float, float]
    osteoporosis_prevalence: float | None = None


GENERAL = PopulationProfile(women_share=0.53, decade_shares=(0.40, 0.28, 0.20, 0.12))
REFERRED = PopulationProfile(
    women_share=0.84, decade_shares=(0.10, 0.41, 0.38, 0.11), osteoporosis_prevalence=0.25
)


@dataclass(frozen=True)
class Patient:
    """One person on one day; ``bmd_g_cm2`` is the true femoral-neck value, Hologic scale."""

    sex: Sex
    age_years: float
    height_cm: float
    weight_kg: float
    alcohol_g_day: float
    activity_h_week: float
    smoking: Smoking
    prior_fracture: bool
    bmd_g_cm2: float

    @property
    def bmi(self) -> float:
        """Body-mass index in kg/m²."""
        return self.weight_kg / (self.height_cm / 100.0) ** 2

    @property
    def t_score(self) -> float:
        """SD from the young reference: osteoporosis ≤ −2.5, osteopenia (−2.5, −1.0]."""
        return (self.bmd_g_cm2 - 0.858) / 0.120


def draw_patient(profile: PopulationProfile, rng: np.random.Generator) -> Patient:
    """One person of this population."""
    sex: Sex = "female" if rng.random() < profile.women_share else "male"
    decade = int(rng.choice(4, p=profile.decade_shares))
    age = 50.0 + 10.0 * decade + float(rng.uniform(0.0, 10.0))
    height_cm, weight_kg = _draw_body(sex, age, rng)
    alcohol = float(min(rng.gamma(0.8, 10.0), 120.0)) if rng.random() < 0.8 else 0.0
    activity = float(np.clip(rng.gamma(1.8, 2.4) * (1.25 - 0.018 * (age - 50.0)), 0.0, 30.0))
    smoking: Smoking = ("never", "former", "current")[int(rng.choice(3, p=(0.52, 0.33, 0.15)))]
    effects = (
        BMD_PER_KG * (weight_kg - _typical_weight_kg(sex))
        + BMD_PER_HOUR * (activity - MEAN_ACTIVITY_H)
        + BMD_PER_GRAM * (alcohol - MEAN_ALCOHOL_G)
        + BMD_OF_SMOKING[smoking]
    )
    unexplained = float(rng.normal(0.0, _unexplained_sd(sex)))
    bmd = max(bmd_mean(sex, age) - bmd_shift(profile) + effects + unexplained, 0.30)
    base, ratio = FRACTURE_ODDS
    log_odds = base + float(np.log(ratio)) * ((0.858 - bmd) / 0.120 - 1.5)
    return Patient(
        sex=sex,
        age_years=age,
        height_cm=height_cm,
        weight_kg=weight_kg,
        alcohol_g_day=alcohol,
        activity_h_week=activity,
        smoking=smoking,
        prior_fracture=bool(rng.random() < 1.0 / (1.0 + np.exp(-log_odds))),
        bmd_g_cm2=bmd,
    )


def grow_older(patient: Patient, years: float, rng: np.random.Generator) -> Patient:
    """The same person some years later: bone lost at the mean rate of the sex, weight drifted."""
    return replace(
        patient,
        age_years=patient.age_years + years,
        weight_kg=patient.weight_kg * float(np.exp(rng.normal(0.0, 0.03))),
        bmd_g_cm2=patient.bmd_g_cm2 * float(np.exp(-LOSS_PER_YEAR[patient.sex] * years)),
    )


def bmd_mean(sex: Sex, age_years: float) -> float:
    """Mean BMD of the general population in g/cm²."""
    return BMD_AT_50[sex] * float(np.exp(-LOSS_PER_YEAR[sex] * (age_years - 50.0)))


@lru_cache(maxsize=64)
def bmd_shift(profile: PopulationProfile) -> float:
    """How much lower than the general population's this profile's mean BMD is, in g/cm²."""
    target = profile.osteoporosis_prevalence
    if target is None:
        return 0.0
    found = optimize.brentq(lambda shift: _prevalence(profile, shift) - target, -0.3, 0.4)
    return float(found)


def _prevalence(profile: PopulationProfile, shift: float) -> float:
    """Expected osteoporosis prevalence: BMD is normal given sex and age."""
    ages = np.arange(50.25, 90.0, 0.5)
    weights = np.repeat(np.asarray(profile.decade_shares), 20) / 20.0
    total = 0.0
    for sex, share in (("female", profile.women_share), ("male", 1.0 - profile.women_share)):
        mean = BMD_AT_50[sex] * np.exp(-LOSS_PER_YEAR[sex] * (ages - 50.0)) - shift
        below = stats.norm.cdf((OSTEOPOROSIS_G_CM2 - mean) / BMD_SD[sex])
        total += share * float(np.sum(weights * below))
    return total


def _draw_body(sex: Sex, age: float, rng: np.random.Generator) -> tuple[float, float]:
    mean_cm, sd_cm = HEIGHT_CM[sex]
    height_cm = float(np.clip(rng.normal(mean_cm - 0.12 * (age - 65.0), sd_cm), 135.0, 205.0))
    median, log_sd = BMI[sex]
    bmi = float(np.clip(median * np.exp(rng.normal(0.0, log_sd)), 15.0, 50.0))
    return height_cm, bmi * (height_cm / 100.0) ** 2


def _typical_weight_kg(sex: Sex) -> float:
    median, log_sd = BMI[sex]
    mean_cm, sd_cm = HEIGHT_CM[sex]
    return median * float(np.exp(log_sd**2 / 2)) * (mean_cm**2 + sd_cm**2) / 1e4


def _unexplained_sd(sex: Sex) -> float:
    """SD left after the effects above, so that the SD given sex and age stays ``BMD_SD``."""
    weight_sd = _typical_weight_kg(sex) * float(
        np.hypot(BMI[sex][1], 2.0 * HEIGHT_CM[sex][1] / HEIGHT_CM[sex][0])
    )
    explained = (
        (BMD_PER_KG * weight_sd) ** 2 + (BMD_PER_HOUR * 3.2) ** 2 + (BMD_PER_GRAM * 8.9) ** 2 + 0.010**2
    )
    return float(np.sqrt(BMD_SD[sex] ** 2 - explained))


def draw_anatomy(patient: Patient, sides: tuple[Side, ...], seed: int) -> tuple[HipAnatomy, ...]:
    """The hips of this person, one per side; the same ``seed`` gives the same bones at every visit.

    Cortex, trabecular share and texture follow BMD and, independently of it, differ between people
    (the larger part) and between the two hips (the smaller).
    """
    rng = np.random.default_rng(seed)
    log_bmd = float(np.log(patient.bmd_g_cm2 / TYPICAL_BMD))
    person = rng.normal(0.0, 1.0, 8)
    thickness_cm = soft_tissue_cm(patient.bmi, rng)
    stature = (patient.height_cm / 165.0) ** 0.8
    own = {side: rng.normal(0.0, 1.0, 4) for side in ("left", "right")}
    return tuple(
        HipAnatomy(
            side=side,
            cortical_mm=CORTICAL_MM
            * float(np.exp(log_bmd + CORTICAL_SD * person[0] + 0.04 * own[side][0])),
            trabecular_share=TRABECULAR_SHARE
            * float(np.exp(1.3 * log_bmd + TRABECULAR_SD * person[1] + 0.06 * own[side][1])),
            texture_exponent=TEXTURE_EXPONENT
            + float(2.0 * log_bmd + TEXTURE_SD * person[2] + 0.10 * own[side][2]),
            texture_contrast=0.30 * float(np.exp(0.15 * person[3])),
            shaft_cortex_ratio=float(np.clip(3.0 + 0.25 * person[4], 2.0, 4.0)),
            pelvis_share=0.14 * float(np.exp(0.4 * log_bmd + 0.30 * person[5])),
            scale=stature * float(np.exp(0.04 * person[6])),
            neck_shaft_degrees=128.0 + 4.5 * float(person[7]) + 1.0 * float(own[side][3]),
            soft_tissue_cm=thickness_cm,
        )
        for side in sides
    )
