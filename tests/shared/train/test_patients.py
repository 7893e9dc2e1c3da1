"""From flat arrays to padded patients: nothing lost, nothing invented, views capped per patient."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from shared.contract.model_settings import ClassificationTask, RegressionTask
from shared.train.patients import PatientBatch, build_patients, make_batches, standardise_target

# Five films, tokens [5,1,1] holding their own row number.
TOKENS = np.arange(5, dtype=np.float32).reshape(5, 1, 1)


def make_batch(
    *,
    max_views: int = 4,
    max_exams: int = 2,
    order: Sequence[int] = (0, 1, 2, 3, 4),
    exam_order: Sequence[int] = (0, 1, 2, 3),
    target: Sequence[float] = (0.1, 0.2, 0.3, float("nan")),
    film_makers: Sequence[str] = (),
) -> PatientBatch:
    """Patient 0: exams 0 and 2 (films 0, 1 and 2); patient 1: exam 1 (3, 4); patient 2: exam 3."""
    return build_patients(
        fields=np.array([[1.0, np.nan], [2.0, 5.0], [3.0, 6.0], [4.0, 7.0]]),
        field_mask=np.array([[True, False], [True, True], [True, True], [True, True]]),
        target=np.array(target),
        patient_index=np.array([0, 1, 0, 2]),
        exam_films=[[0, 1], [3, 4], [2], []],
        film_order=order,
        exam_order=exam_order,
        tokens=TOKENS,
        film_makers=film_makers,
        max_views=max_views,
        max_exams=max_exams,
    )


def films_of(batch: PatientBatch, patient: int) -> list[list[float]]:
    return [
        batch.tokens[patient, batch.film_exam[patient] == exam, 0, 0].tolist()
        for exam in range(batch.target.shape[1])
    ]


def test_every_exam_lands_with_its_patient() -> None:
    batch = make_batch()
    assert len(batch) == 3
    assert batch.tokens.shape == (3, 4, 1, 1)
    assert [films_of(batch, patient) for patient in range(3)] == [
        [[0, 1], [2]],
        [[3, 4], []],
        [[], []],
    ]
    assert batch.target.tolist()[0] == pytest.approx([0.1, 0.3])
    assert batch.exam_mask.tolist() == [[True, True], [True, False], [False, False]]


def test_who_made_a_films_scanner_goes_with_its_film() -> None:
    batch = make_batch(film_makers=["Umbra", "", "Acme", "Acme", "Umbra"])
    assert batch.makers == ("Acme", "Umbra")
    assert batch.film_maker.tolist() == [[2, 0, 1, 0], [1, 2, 0, 0], [0, 0, 0, 0]]
    for same in (
        batch.select([1]),
        batch.filled(4).select([1]),
        next(make_batches(batch.select([1]), 1)),
    ):
        assert (same.makers, same.film_maker[0].tolist()) == (batch.makers, [1, 2, 0, 0])
    capped = make_batch(max_views=1, order=[1, 2, 0, 3, 4], film_makers=["A", "B", "C", "D", "E"])
    assert [capped.makers[number - 1] for number in capped.film_maker[:2, 0]] == ["C", "D"]
    assert make_batch().film_maker.tolist() == torch.zeros(3, 4).tolist(), "no header was asked"


def test_missing_values_become_zero_and_padding_is_finite() -> None:
    batch = make_batch()
    assert batch.fields[0, 0].tolist() == [1.0, 0.0]
    assert batch.field_mask[0, 0].tolist() == [True, False]
    assert all(torch.isfinite(tensor).all() for tensor in batch.tensors())


def test_the_cap_keeps_the_first_films_in_the_given_order() -> None:
    batch = make_batch(max_views=2, order=[4, 0, 1, 3, 2])
    assert films_of(batch, 0) == [[1], [2]]
    assert films_of(batch, 1)[0] == [3, 4]
    assert batch.film_exam.tolist() == [[0, 1], [0, 0], [-1, -1]]


def test_an_exam_that_lost_all_its_films_to_the_cap_does_not_count() -> None:
    batch = make_batch(max_views=1, order=[1, 2, 0, 3, 4])
    assert films_of(batch, 0) == [[2], []]
    assert batch.target[0].tolist() == pytest.approx([0.3, 0.0])
    assert batch.exam_mask[0].tolist() == [True, False]


def test_the_cap_on_exams_keeps_the_first_in_the_given_order_and_leaves_out_the_others_films() -> None:
    first, second = make_batch(max_exams=1), make_batch(max_exams=1, exam_order=[3, 1, 2, 0])
    assert (films_of(first, 0), films_of(second, 0)) == ([[0, 1]], [[2]])
    assert first.target[:, 0].tolist() == pytest.approx([0.1, 0.2, 0.0])
    assert second.target[:, 0].tolist() == pytest.approx([0.3, 0.2, 0.0])


def test_exams_stay_in_their_own_order_whatever_order_the_cap_takes() -> None:
    batch = make_batch(max_exams=2, exam_order=[3, 1, 2, 0])
    assert films_of(batch, 0) == [[0, 1], [2]]


def test_a_labelled_exam_takes_the_place_of_one_without_a_label() -> None:
    batch = make_batch(max_exams=1, target=(float("nan"), 0.2, 0.3, 0.4))
    assert films_of(batch, 0) == [[2]]
    assert batch.target[0].tolist() == pytest.approx([0.3])


@given(views=st.integers(1, 6), exams=st.integers(1, 4))
def test_the_shape_is_that_of_the_caps_whatever_patients_have(views: int, exams: int) -> None:
    batch = make_batch(max_views=views, max_exams=exams)
    assert (batch.tokens.shape[:2], batch.fields.shape[:2]) == ((3, views), (3, exams))


@pytest.mark.parametrize("size", [3, 5])
def test_rows_that_fill_a_chunk_are_nobody_and_finite(size: int) -> None:
    batch = make_batch()
    filled = batch.filled(size)
    assert len(filled) == size
    for name, own in batch.named_tensors().items():
        assert torch.equal(filled.named_tensors()[name][:3], own)
        assert torch.isfinite(filled.named_tensors()[name]).all()
    assert not filled.exam_mask[3:].any()
    assert not filled.field_mask[3:].any()
    assert (filled.film_exam[3:] == -1).all()
    assert (filled.canary[3:] == -1).all()


def test_a_cohort_without_films_has_no_views() -> None:
    batch = build_patients(
        fields=np.ones((2, 1)),
        field_mask=np.ones((2, 1), dtype=bool),
        target=np.array([1.0, 0.0]),
        patient_index=np.array([0, 1]),
        exam_films=[[], []],
        film_order=[],
        exam_order=range(2),
        tokens=np.zeros((0, 0, 0)),
        max_views=4,
        max_exams=2,
    )
    assert batch.tokens.shape == (2, 0, 0, 0)
    assert batch.exam_mask.tolist() == [[True, False]] * 2


def test_no_exams_give_no_patients() -> None:
    batch = build_patients(
        fields=np.zeros((0, 2)),
        field_mask=np.zeros((0, 2), dtype=bool),
        target=np.zeros(0),
        patient_index=np.zeros(0, dtype=int),
        exam_films=[],
        film_order=[],
        exam_order=[],
        tokens=np.zeros((0, 1, 1)),
        max_views=4,
        max_exams=2,
    )
    assert len(batch) == 0


def test_select_keeps_order_and_patient_drops_the_first_axis() -> None:
    batch = make_batch()
    chosen = batch.select([2, 0])
    assert torch.equal(chosen.target[1], batch.target[0])
    assert batch.patient(1).tokens.shape == (4, 1, 1)


@given(size=st.integers(1, 7))
def test_batches_partition_the_patients(size: int) -> None:
    batch = make_batch()
    parts = list(make_batches(batch, size))
    assert all(len(part) <= size for part in parts)
    assert torch.equal(torch.cat([part.fields for part in parts]), batch.fields)


@given(cap=st.integers(1, 6), seed=st.integers(0, 1000))
def test_no_patient_exceeds_the_cap(cap: int, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(5).tolist()
    batch = make_batch(max_views=cap, order=order)
    assert (batch.film_exam >= 0).sum(dim=1).tolist() == [min(cap, 3), min(cap, 2), 0]


def test_targets_are_standardised_with_public_constants_and_classes_are_kept() -> None:
    regression = RegressionTask(target_mean=0.75, target_sd=0.12, endpoint="x", endpoint_threshold=0.5)
    classes = ClassificationTask(endpoint="x", positive_class="y")
    assert standardise_target(np.array([0.87, 0.75]), regression) == pytest.approx([1.0, 0.0])
    assert standardise_target(np.array([2, 0, -1]), classes) == pytest.approx(
        [2.0, 0.0, np.nan], nan_ok=True
    )
