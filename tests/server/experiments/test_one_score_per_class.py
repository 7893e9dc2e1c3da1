"""Softmax regression by sums: autograd's gradient, and without noise scikit-learn's fit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from practice_tables import classes, in_three, table_task
from sklearn.linear_model import LogisticRegression

from server.experiments.one_score_per_class import OneScorePerClass
from shared.features.columns import Columns
from shared.sums.contract import State
from shared.sums.federate import federate


def test_a_row_is_the_gradient_that_autograd_finds() -> None:
    draw = np.random.default_rng(1)
    learner = OneScorePerClass(table_task(4, n_classes=3), clip_norm=1e6)
    vector = draw.normal(size=15)
    patients = Columns(draw.normal(size=(12, 4)), np.arange(12.0) % 3)
    rows = learner.rows(State(vector), patients)
    for row, values, target in zip(rows, patients.columns, patients.target, strict=True):
        weights = torch.tensor(vector, requires_grad=True)
        scores = weights.reshape(3, 5) @ torch.tensor([1.0, *values], dtype=torch.float64)
        torch.nn.functional.cross_entropy(scores, torch.tensor(int(target))).backward()
        assert row == pytest.approx(weights.grad.numpy(), abs=1e-12)


def test_without_noise_and_clipping_it_comes_to_the_maximum_of_the_likelihood() -> None:
    patients = classes(400, 3)
    task = table_task(3, n_classes=3)
    learner = OneScorePerClass(task, sums=1500, rate_times_sums=3000.0, clip_norm=1e6)
    state = federate(learner, in_three(patients), n_declared=400)
    fitted = LogisticRegression(C=1e9, max_iter=2000).fit(patients.columns, patients.target)
    found = learner.predict(state, patients)
    assert found == pytest.approx(fitted.predict_proba(patients.columns), abs=0.01)


def test_the_last_state_is_the_mean_of_the_last_half_of_the_steps() -> None:
    learner = OneScorePerClass(table_task(1, n_classes=2), sums=3, rate_times_sums=3.0)
    state, total = learner.start(), np.array([1.0, 0.0, 0.0, 0.0])
    for _ in range(3):
        state = learner.advance(state, total, sd=0.0, n_declared=1.0)
    assert state.vector.tolist() == [-2.5, 0.0, 0.0, 0.0]
    assert (state.sums_done, state.memory) == (3, {})


def test_no_row_is_longer_than_the_clip_norm_whatever_the_patient_is() -> None:
    learner = OneScorePerClass(table_task(3, n_classes=3))
    odd = np.array([[1e300, -1e300, 0.0], [np.nan, 0, 0], [np.inf, 0, 0], [4.0, 4.0, 4.0]])
    rows = learner.rows(State(np.full(12, 30.0)), Columns(odd, np.array([0.0, 1.0, 2.0, np.nan])))
    assert np.linalg.norm(rows, axis=1).max() <= learner.clip_norm
    assert not rows[1:].any()
