"""Patient gradients as rows: bounded, each its patient's own, added up to what training adds fast."""

from __future__ import annotations

import numpy as np
import pytest
from practice_patients import practice_loss, practice_patients, practice_settings

from shared.model.build import build_model
from shared.model.weights import load_flat
from shared.stages.gradient_rows import PatientGradients
from shared.sums.contract import State

CLIP = 0.5


def gradients(fusion: str = "linear", **changes: object) -> PatientGradients:
    values = {"sums": 4, "clip_norm": CLIP, "learning_rate": 0.25} | changes
    return PatientGradients(settings=practice_settings(fusion), **values)


def moved(asked: PatientGradients) -> State:
    start = asked.start()
    return State(start.vector + np.linspace(-0.1, 0.1, start.vector.size))


@pytest.mark.parametrize("fusion", ["linear", "cross_attention"])
def test_the_sum_of_the_rows_is_the_quick_total_and_no_row_is_beyond_the_clip_norm(fusion: str) -> None:
    asked, patients = gradients(fusion), practice_patients(9)
    state = moved(asked)
    rows = asked.rows(state, patients)
    norms = np.linalg.norm(rows, axis=1)
    assert (norms <= CLIP).all()
    assert norms.max() == pytest.approx(CLIP, rel=1e-5), "somebody must be clipped"
    np.testing.assert_allclose(rows.sum(axis=0), asked.quick_total(state, patients), atol=1e-8)
    alone = asked.rows(state, patients.select([3]))
    assert np.array_equal(alone[0], rows[3])


def test_a_row_is_the_clipped_gradient_of_autograd() -> None:
    asked, patients = gradients(), practice_patients(3)
    state = moved(asked)
    model = build_model(asked.settings, asked.settings.seed)
    load_flat(model, state.vector)
    rows = asked.rows(state, patients)
    for place in range(3):
        model.zero_grad()
        practice_loss()(model, patients.select([place])).sum().backward()
        gradient = np.concatenate([each.grad.numpy().ravel() for each in model.parameters()])
        gradient *= min(1.0, CLIP / np.linalg.norm(gradient))
        np.testing.assert_allclose(rows[place], gradient, atol=1e-6)


def test_a_step_goes_down_the_mean_gradient_of_the_declared_patients() -> None:
    asked = gradients(sample_rate=0.5)
    state = State(np.array([1.0, 2.0]), 1)
    after = asked.advance(state, np.array([8.0, -4.0]), sd=3.0, n_declared=10.0)
    # 0.25 / (0.5 · 10) = 0.05 of the total
    assert after.vector.tolist() == pytest.approx([0.6, 2.2])
    assert after.sums_done == 2


def test_all_sums_have_equal_shares_and_the_clip_norm_for_a_bound() -> None:
    asked = gradients()
    assert asked.shares() == (0.25,) * 4
    assert asked.bound(asked.start()) == CLIP
    assert asked.length(asked.start()) == asked.start().vector.size


def test_nobody_gives_no_row() -> None:
    asked = gradients()
    rows = asked.rows(asked.start(), practice_patients(3).select([]))
    assert rows.shape == (0, asked.length(asked.start()))
