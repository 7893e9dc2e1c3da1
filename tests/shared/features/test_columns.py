"""Columns are the linear head's inputs, patient by patient, whoever else is there."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from practice_patients import CHANNELS, SCHEMA, practice_patients

from shared.features.columns import IMAGE_NORM, Columns, make_columns, name_columns
from shared.model.clinical_tokens import ClinicalDesign
from shared.model.token_constants import POOLED_NORM
from shared.train.patients import PatientBatch

NAMES = [column.name for column in name_columns(SCHEMA.fields, channels=CHANNELS)]


def made(batch: PatientBatch, *, is_class: bool = False, channels: int = CHANNELS) -> Columns:
    return make_columns(batch, SCHEMA.fields, is_class=is_class, channels=channels)


def test_columns_are_named_by_source_and_in_order() -> None:
    columns = name_columns(SCHEMA.fields, channels=2)
    assert [column.name for column in columns[:4]] == ["image[0]", "image[1]", "age", "height"]
    assert [column.source for column in columns[:3]] == ["image", "image", "clinical"]
    assert "smoking=former" in NAMES
    assert NAMES[-1] == "prior_fracture is missing"
    assert len(columns) == 2 + 6 + 7 + 9
    assert len(name_columns(SCHEMA.fields, channels=0)) == 22
    assert columns[0].spread == pytest.approx(IMAGE_NORM / 2**0.5)


def test_the_public_sd_of_a_mark_is_that_of_a_yes_of_its_share() -> None:
    marks = [column for column in name_columns(SCHEMA.fields, channels=0) if column.is_mark]
    assert {column.centre for column in marks} == {0.5, 0.1}
    for column in marks:
        draws = np.array([1.0] * round(100 * column.centre) + [0.0] * round(100 * (1 - column.centre)))
        assert column.spread == pytest.approx(draws.std())


def test_a_cohort_without_clinical_fields_has_the_columns_of_its_films() -> None:
    batch = practice_patients(12)
    bare = dataclasses.replace(
        batch, fields=batch.fields[..., :0], field_mask=batch.field_mask[..., :0]
    )
    found = make_columns(bare, [], is_class=False, channels=CHANNELS)
    assert found.columns.shape == (12, CHANNELS)
    np.testing.assert_array_equal(found.columns, made(batch).columns[:, :CHANNELS])


def test_the_image_norm_is_the_encoders() -> None:
    assert IMAGE_NORM == POOLED_NORM


def test_of_one_exam_they_are_what_the_linear_head_sees() -> None:
    batch = practice_patients(30, exams=1)
    design = ClinicalDesign(SCHEMA.fields)
    has_film = (batch.film_exam == 0)[:, :, None, None]
    n_tokens = has_film.sum(dim=(1, 2)) * batch.tokens.shape[2]
    image = (batch.tokens * has_film).sum(dim=(1, 2)) / n_tokens.clamp(min=1)
    clinical = design.vector(batch.fields[:, 0], batch.field_mask[:, 0])
    expected = torch.cat([image, clinical], dim=1).double().numpy()
    limits = name_columns(SCHEMA.fields, channels=CHANNELS)
    expected = np.clip(expected, [c.low for c in limits], [c.high for c in limits])
    assert np.allclose(made(batch).columns, expected, atol=1e-6)
    assert np.allclose(made(batch).target, batch.target[:, 0].double().numpy())


def test_of_several_exams_they_are_the_mean_over_the_labelled_ones_by_hand() -> None:
    batch = practice_patients(1, exams=3, views=1)
    batch.exam_mask[0] = torch.tensor([True, False, True])
    batch.film_exam[0] = torch.tensor([0, 1, -1])  # the third has no film
    batch.field_mask[0, :, 0] = True
    batch.fields[0, :, 0] = torch.tensor([1.0, 9.0, 2.0])
    batch.target[0] = torch.tensor([0.5, 7.0, -1.5])
    row = made(batch)
    first = batch.tokens[0, 0].double().numpy().mean(axis=0)
    assert row.columns[0, :CHANNELS] == pytest.approx(first / 2)
    assert row.columns[0, NAMES.index("age")] == 1.5
    assert row.target[0] == -0.5
    assert made(batch, is_class=True).target[0] == 0.5  # the earliest labelled exam's


@pytest.mark.parametrize("is_class", [False, True])
def test_a_row_is_the_patients_alone_bit_for_bit(is_class: bool) -> None:
    few, many = (
        practice_patients(9, seed=1, exams=2, views=1),
        practice_patients(40, seed=2, exams=5, views=4),
    )
    padded = PatientBatch(
        *(wider(tensor, like) for tensor, like in zip(few.tensors(), many.tensors(), strict=True))
    )
    alone, together = made(few, is_class=is_class), made(join(many, padded), is_class=is_class)
    assert alone.columns.tobytes() == together.columns[40:].tobytes()
    assert alone.target.tobytes() == together.target[40:].tobytes()
    one = made(few.select([4]), is_class=is_class)
    assert one.columns.tobytes() == alone.columns[4:5].tobytes()


def join(*batches: PatientBatch) -> PatientBatch:
    columns = zip(*(batch.tensors() for batch in batches), strict=True)
    return PatientBatch(*(torch.cat(column) for column in columns))


def wider(tensor: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """The tensor with the other's room, filled with what masks must hide."""
    room = tensor.new_full((len(tensor), *like.shape[1:]), 0 if tensor.dtype == torch.bool else 77)
    room[tuple(slice(size) for size in tensor.shape)] = tensor
    return room


def test_what_is_missing_has_a_mark_and_says_nothing_else() -> None:
    batch = practice_patients(20, exams=1)
    batch.field_mask[:, 0, :] = False
    row = made(batch).columns
    clinical = row[:, CHANNELS:]
    assert clinical[:, -9:].tolist() == np.ones((20, 9)).tolist()
    assert not clinical[:, :-9].any()


def test_numbers_are_clipped_at_four_public_sds_and_nan_stays() -> None:
    batch = practice_patients(3, exams=1)
    batch.field_mask[:, 0, 0] = True
    batch.fields[:, 0, 0] = torch.tensor([1e30, -torch.inf, torch.nan])
    age = made(batch).columns[:, NAMES.index("age")]
    assert age[:2].tolist() == [4.0, -4.0]
    assert np.isnan(age[2])


def test_a_patient_without_a_labelled_exam_has_neither_columns_nor_target() -> None:
    batch = practice_patients(2)
    batch.exam_mask[1] = False
    row = made(batch)
    assert np.isnan(row.columns[1]).all()
    assert np.isnan(row.target[1])
    assert np.isfinite(row.columns[0]).all()


def test_without_channels_the_image_is_left_out() -> None:
    batch = practice_patients(5)
    blind = dataclasses.replace(batch, tokens=torch.full_like(batch.tokens, torch.nan))
    assert made(blind, channels=0).columns.shape == (5, 22)
    assert np.isfinite(made(blind, channels=0).columns).all()


def test_an_exam_is_clipped_before_it_is_averaged_with_the_patients_others() -> None:
    batch = practice_patients(1, exams=2)
    batch.exam_mask[0] = True
    batch.field_mask[0, :, 0] = True
    batch.fields[0, :, 0] = torch.tensor([1e6, -1.0])
    assert made(batch).columns[0, NAMES.index("age")] == 1.5  # (4 − 1) / 2
