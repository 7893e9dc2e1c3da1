"""Donors: whose value replaces a patient's depends on that patient alone, and is a public one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from practice_patients import SCHEMA, practice_patients
from scipy import stats

from shared.stages.donors import with_donors
from shared.train.patients import join_patients

PATIENTS = practice_patients(400, seed=3)
NUMBER, CATEGORY = (
    next(place for place, field in enumerate(SCHEMA.fields) if field.kind == kind)
    for kind in ("number", "category")
)


def donated(patients, place):
    return with_donors(patients, place, SCHEMA.fields[place]).fields[..., place]


def test_nothing_but_the_one_field_changes_and_what_is_missing_stays_missing() -> None:
    changed = with_donors(PATIENTS, NUMBER, SCHEMA.fields[NUMBER])
    has = PATIENTS.field_mask[..., NUMBER]
    assert has.any()
    assert (~has).any()
    others = [place for place in range(len(SCHEMA.fields)) if place != NUMBER]
    assert torch.equal(changed.fields[..., others], PATIENTS.fields[..., others])
    assert torch.equal(changed.fields[..., NUMBER][~has], PATIENTS.fields[..., NUMBER][~has])
    assert (changed.fields[..., NUMBER][has] != PATIENTS.fields[..., NUMBER][has]).all()
    for name, tensor in PATIENTS.named_tensors().items():
        assert name == "fields" or torch.equal(getattr(changed, name), tensor)


def test_a_donor_is_the_same_whoever_else_is_there_and_wherever_the_patient_stands() -> None:
    for place in (NUMBER, CATEGORY):
        alone = torch.cat([donated(PATIENTS.select([row]), place) for row in range(5)])
        assert torch.equal(alone, donated(PATIENTS, place)[:5])
        moved = join_patients(practice_patients(7, seed=9), PATIENTS.select([4, 2]))
        assert torch.equal(donated(moved, place)[-2:], alone[[4, 2]])


def test_another_value_of_another_field_gives_another_donor() -> None:
    other = PATIENTS.fields.clone()
    other[..., CATEGORY] = 1 - other[..., CATEGORY].clamp(0, 1)
    has = PATIENTS.field_mask[..., NUMBER]
    first, second = donated(PATIENTS, NUMBER), donated(replace(PATIENTS, fields=other), NUMBER)
    assert (first != second)[has].float().mean() > 0.99


def test_donors_numbers_follow_the_public_reference_within_its_range() -> None:
    field = SCHEMA.fields[NUMBER]
    values = donated(PATIENTS, NUMBER)[PATIENTS.field_mask[..., NUMBER]].double().numpy()
    low, high = ((end - field.reference_mean) / field.reference_sd for end in (field.low, field.high))
    assert values.min() >= low
    assert values.max() <= high
    assert stats.kstest(values, stats.truncnorm(low, high).cdf).pvalue > 1e-3


def test_donors_categories_are_the_schemas_each_as_often() -> None:
    field = SCHEMA.fields[CATEGORY]
    values = donated(PATIENTS, CATEGORY)[PATIENTS.field_mask[..., CATEGORY]].long()
    counts = np.bincount(values, minlength=len(field.categories))
    assert len(counts) == len(field.categories)
    assert stats.chisquare(counts).pvalue > 1e-3
