"""Draws exams of a phantom at a hospital: who comes, what is true of them, and the film.

A person's hip is drawn as everywhere; the bone of this phantom goes with it as the YAML says, so that
its prevalence of osteoporosis is the hospital's own. Findings depend on BMD, and their declared
prevalence is reached by one constant. Imports settings, table, film and scene; exams, population and
drawing of the package above.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import optimize, special

from server.synthetic import drawing
from server.synthetic.hospitals import SyntheticSite
from server.synthetic.phantoms.film import Beam, PhantomFilm, draw_frame, render, with_marker
from server.synthetic.phantoms.scene import Traits
from server.synthetic.phantoms.settings import (
    MarkerSettings,
    PhantomSettings,
    read_hospitals,
    site_of,
)
from server.synthetic.phantoms.table import ANATOMIES
from server.synthetic.population import (
    BMD_SD,
    Patient,
    PopulationProfile,
    Sex,
    bmd_mean,
    bmd_shift,
    draw_patient,
)

OSTEOPOROSIS_T = -2.5
CORTEX_SD = 0.08  # of the logarithm of cortical thickness, between people of equal BMD
TEXTURE_EXPONENT, TEXTURE_SD = 2.2, 0.4  # as at the hip
# The word of Zech et al.'s films, in lead letters of half an inch.
MARKER_WORD, MARKER_MM = "PORTABLE", 12.7


@dataclass(frozen=True)
class PhantomExam:
    """One person, filmed once. ``t_score``: of the measured bone's true BMD."""

    patient: Patient
    t_score: float
    film: PhantomFilm


def draw_exams(
    phantom: PhantomSettings, hospital: str, n_patients: int, rng: np.random.Generator
) -> list[PhantomExam]:
    """Exams of fresh patients of this hospital."""
    site = site_of(hospital, phantom)
    return [
        draw_exam(phantom, site, draw_patient(site.population, rng), rng) for _ in range(n_patients)
    ]


def draw_exam(
    phantom: PhantomSettings, site: SyntheticSite, patient: Patient, rng: np.random.Generator
) -> PhantomExam:
    """One exam of this person."""
    bone = phantom.bone
    score = _draw_t_score(site.population, bone.neck_correlation, patient, rng)
    bmd = max(bone.reference_mean + score * bone.reference_sd, 0.3 * bone.reference_mean)
    ratio = bmd / bone.reference_mean
    is_positive, has_implant = _draw_finding(phantom, site, score, rng)
    traits = Traits(
        is_female=patient.sex == "female",
        age_years=patient.age_years,
        bmi=patient.bmi,
        scale=(patient.height_cm / 165.0) ** 0.8 * float(np.exp(rng.normal(0.0, 0.03))),
        bmd_ratio=ratio,
        cortex_ratio=ratio * float(np.exp(rng.normal(0.0, CORTEX_SD))),
        is_positive=is_positive,
        has_implant=has_implant,
    )
    film = _film(phantom, site, traits, bmd, rng)
    score = (film.truth.bmd_g_cm2 - bone.reference_mean) / bone.reference_sd
    if phantom.marker:
        # Chances of its own, so that the same people are filmed alike with and without one.
        (own,) = rng.spawn(1)
        if own.random() < _marker_share(phantom.marker, site.name, score):
            film = _mark(film, own)
    return PhantomExam(patient, score, film)


def finding_probability(phantom: PhantomSettings, site: SyntheticSite, t_score: float) -> float:
    """How likely a finding is at this T-score; over the hospital's patients the declared prevalence."""
    finding = phantom.finding
    if finding is None:
        return 0.0
    case_mix = read_hospitals()[site.name].case_mix
    asked = float(special.expit(special.logit(finding.prevalence) + np.log(case_mix)))
    log_ratio = float(np.log(finding.odds_per_sd))
    log_odds: float = _intercept(site.population, log_ratio, asked) - log_ratio * t_score
    return float(special.expit(log_odds))


def _draw_t_score(
    profile: PopulationProfile, correlation: float, patient: Patient, rng: np.random.Generator
) -> float:
    """T-score of the measured bone: as far from people of the same sex and age as the hip, in part."""
    mean, sd = _expected(profile, patient.sex, patient.age_years)
    neck = (patient.t_score - mean) / sd
    own = correlation * neck + float(np.sqrt(1 - correlation**2) * rng.normal())
    return mean + sd * own


def _expected(profile: PopulationProfile, sex: Sex, age_years: float) -> tuple[float, float]:
    """Mean and SD of the T-score of people of this sex and age."""
    bmd = bmd_mean(sex, age_years) - bmd_shift(profile)
    return (bmd - 0.858) / 0.120, BMD_SD[sex] / 0.120


def _draw_finding(
    phantom: PhantomSettings, site: SyntheticSite, t_score: float, rng: np.random.Generator
) -> tuple[bool, bool]:
    finding = phantom.finding
    if finding is None:
        return False, False
    is_positive = bool(rng.random() < finding_probability(phantom, site, t_score))
    implants = finding.implant_shares.get(site.name, finding.implant_share)
    return is_positive, is_positive and bool(rng.random() < implants)


@lru_cache(maxsize=64)
def _intercept(profile: PopulationProfile, log_ratio: float, asked: float) -> float:
    """The log odds at T = 0 at which a hospital's patients have a finding this often."""
    ages = np.arange(50.5, 90.0, 1.0)
    nodes, weights = np.polynomial.hermite_e.hermegauss(15)
    weights = weights / weights.sum()

    def prevalence(intercept: float) -> float:
        total = 0.0
        for sex, share in (("female", profile.women_share), ("male", 1 - profile.women_share)):
            for age, of_decade in zip(ages, np.repeat(profile.decade_shares, 10), strict=True):
                mean, sd = _expected(profile, "female" if sex == "female" else "male", float(age))
                chance = special.expit(intercept - log_ratio * (mean + sd * nodes))
                total += share * of_decade / 10 * float(weights @ chance)
        return total

    return float(optimize.brentq(lambda at: prevalence(at) - asked, -20.0, 20.0))


def _film(
    phantom: PhantomSettings,
    site: SyntheticSite,
    traits: Traits,
    bmd_g_cm2: float,
    rng: np.random.Generator,
) -> PhantomFilm:
    settings, (scanner,) = phantom.film, site.scanners
    side = "left" if rng.random() < 0.5 else "right"
    shift = read_hospitals()[site.name].unit.energy_shift_kev
    return render(
        ANATOMIES[phantom.anatomy](traits, rng),
        draw_frame(
            scanner,
            rng,
            scale=traits.scale,
            turn=settings.turn_degrees,
            mirror=settings.is_paired and side == "left",
        ),
        scanner,
        Beam(settings.energy_kev + shift, settings.scatter, settings.grain),
        rng,
        bmd_g_cm2=bmd_g_cm2,
        texture_exponent=TEXTURE_EXPONENT
        + 2.0 * float(np.log(traits.bmd_ratio / 0.8))
        + TEXTURE_SD * float(rng.normal()),
        side=side,
    )


def _marker_share(marker: MarkerSettings, hospital: str, t_score: float) -> float:
    if hospital != marker.hospital:
        return marker.elsewhere
    return marker.with_label if t_score <= OSTEOPOROSIS_T else marker.without_label


def _mark(film: PhantomFilm, rng: np.random.Generator) -> PhantomFilm:
    """The film with a lead word in the upper corner on the patient's right."""
    grey = film.pixels.astype(np.float32)
    scale = drawing.measure_scale(grey)
    word = drawing.lead_word(MARKER_WORD, MARKER_MM / film.pixel_mm, rng)
    place = (rng.normal(0.09, 0.01) * grey.shape[0], rng.normal(0.16, 0.01) * grey.shape[1])
    drawn = drawing.stamp(grey, word, place, scale.high + 0.3 * (scale.high - scale.low))
    return with_marker(film, np.clip(np.rint(drawn), 0, 4095).astype(np.uint16))
