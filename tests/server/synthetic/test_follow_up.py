"""What becomes of synthetic patients: rates and ratios as published, and nobody past the end."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from server.synthetic.follow_up import (
    DAYS_PER_YEAR,
    FollowUp,
    death_hazard,
    draw_follow_up,
    fracture_hazard,
)
from server.synthetic.population import REFERRED, Patient, draw_patient

BEGIN, END = date(2018, 1, 1), date(2028, 1, 1)


def patient_of(**changes: object) -> Patient:
    """A woman of 60 at a T-score of −2: .858 − 2 · .120 g/cm²."""
    drawn = draw_patient(REFERRED, np.random.default_rng(0))
    values = {"sex": "female", "age_years": 60.0, "bmd_g_cm2": 0.618, "prior_fracture": False}
    return replace(drawn, **{**values, **changes})


def endings(patient: Patient, n: int, *, hazard_ratio: float = 1.0) -> list[FollowUp]:
    draw = np.random.default_rng(5)
    return [
        draw_follow_up(patient, since=BEGIN, until=END, hazard_ratio=hazard_ratio, rng=draw)
        for _ in range(n)
    ]


@pytest.mark.parametrize(
    ("sex", "age", "published"),
    [("female", 60.0, 0.014), ("female", 80.0, 0.044), ("male", 60.0, 0.019), ("male", 80.0, 0.034)],
)
def test_ten_years_bring_as_many_hip_fractures_as_frax_says(
    sex: str, age: float, published: float
) -> None:
    n = 6000
    found = endings(patient_of(sex=sex, age_years=age), n)
    share = sum(each.ending == "fracture" for each in found) / n
    # three standard errors, and a tenth for a hazard that is not even within the ten years
    assert share == pytest.approx(published, abs=3 * (published / n) ** 0.5 + 0.1 * published)


def test_hazards_have_the_published_ratios() -> None:
    at = fracture_hazard(patient_of(), 65.0)
    assert fracture_hazard(patient_of(bmd_g_cm2=0.618 - 0.120), 65.0) / at == pytest.approx(2.88)
    # 1 + .78 · .85
    assert fracture_hazard(patient_of(prior_fracture=True), 65.0) / at == pytest.approx(1.663)
    man = patient_of(sex="male")
    of_man = fracture_hazard(replace(man, bmd_g_cm2=0.618 - 0.120), 65.0) / fracture_hazard(man, 65.0)
    assert of_man == pytest.approx(2.94)


def test_a_year_kills_the_share_of_the_life_table() -> None:
    assert 1 - np.exp(-death_hazard("female", 60.0)) == pytest.approx(0.00774)
    assert 1 - np.exp(-death_hazard("male", 80.0)) == pytest.approx(0.071687)


def test_the_hospitals_own_ratio_multiplies_fractures_and_leaves_deaths() -> None:
    often = endings(patient_of(age_years=80.0), 3000, hazard_ratio=4.0)
    seldom = endings(patient_of(age_years=80.0), 3000)
    fractures = [sum(each.ending == "fracture" for each in found) for found in (often, seldom)]
    assert 3.0 < fractures[0] / fractures[1] < 4.5
    # death comes first less often, but to no other person
    assert sum(each.ending == "death" for each in often) < sum(
        each.ending == "death" for each in seldom
    )


def test_nobody_is_followed_past_the_end_and_who_is_alive_is_so_on_that_day() -> None:
    found = endings(patient_of(age_years=85.0), 500)
    assert {each.ending for each in found} == {"fracture", "death", "alive"}
    assert all(BEGIN < each.day <= END for each in found)
    assert {each.day for each in found if each.ending == "alive"} == {END}
    assert FollowUp(END, "alive").years_from(BEGIN) == pytest.approx(3652 / DAYS_PER_YEAR)


def test_an_exam_after_the_end_has_no_time_at_all() -> None:
    late = draw_follow_up(
        patient_of(), since=END, until=BEGIN, hazard_ratio=1.0, rng=np.random.default_rng(0)
    )
    assert late == FollowUp(END, "alive")
