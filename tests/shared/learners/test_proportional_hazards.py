"""Gradient against torch's autograd, the fit against a general optimiser and a logistic fit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from practice_follow_up import ALONE, FOLLOWED, follow, label_of
from practice_tables import in_three, table_task
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

from shared.errors import SettingsError
from shared.exam.time_to_event import TimeToEventLabel
from shared.features.columns import Columns
from shared.learners.proportional_hazards import ProportionalHazards, ProportionalHazardsSettings
from shared.sums.contract import State
from shared.sums.federate import federate


def make(label: TimeToEventLabel | None, *, f: int = 3, rate: float = 40.0, **changes: object):
    values = {
        "kind": "proportional_hazards",
        "schedule": [{"up_to_epsilon": 50.0, "rate_times_sums": rate}],
        **changes,
    }
    settings = ProportionalHazardsSettings.model_validate(values)
    return ProportionalHazards.build(settings, replace(table_task(f), follow_up=label))


def loss(
    vector: torch.Tensor, values: torch.Tensor, place: int, label: TimeToEventLabel
) -> torch.Tensor:
    """−log P(class) interval by interval, without any of our algebra."""
    k, r, f = label.n_intervals, len(label.causes), len(values)
    score = values @ vector[: f * r].reshape(f, r)
    offsets = vector[f * r :].reshape(k, r)
    logs = [
        torch.log_softmax(torch.cat([torch.zeros(1), score + offsets[interval]]), dim=0)
        for interval in range(k)
    ]
    cause, last = divmod(place, k) if place < r * k else (None, place - r * k)
    found = sum((logs[interval][0] for interval in range(last)), torch.zeros(()))
    return -found if cause is None else -found - logs[last][1 + cause]


@pytest.mark.parametrize("label", [ALONE, FOLLOWED])
def test_a_row_is_the_gradient_that_autograd_finds(label: TimeToEventLabel) -> None:
    torch.set_default_dtype(torch.float64)
    try:
        draw = np.random.default_rng(3)
        learner = make(label, clip_norm=1e6)
        vector = draw.normal(size=len(learner.start().vector))
        q = len(label.classes)
        patients = Columns(draw.normal(size=(q, 3)), np.arange(float(q)))
        rows = learner.rows(State(vector), patients)
        for row, values, place in zip(rows, patients.columns, range(q), strict=True):
            weights = torch.tensor(vector, requires_grad=True)
            found = loss(weights, torch.tensor(values), place, label)
            if found.requires_grad:
                found.backward()
            expected = np.zeros(len(vector)) if weights.grad is None else weights.grad.numpy()
            assert np.allclose(row, expected, atol=1e-10)
    finally:
        torch.set_default_dtype(torch.float32)


def test_three_sites_without_noise_come_to_the_maximum_of_the_likelihood_of_all_together() -> None:
    patients = follow(600, seed=2).as_columns(FOLLOWED)
    learner = make(FOLLOWED, sums=1000, rate=3000.0, clip_norm=1e6)
    state = federate(learner, in_three(patients), n_declared=600)
    exposures = FOLLOWED.exposures()[patients.target.astype(int)]

    def whole(vector: np.ndarray) -> float:
        logits = patients.columns @ vector[:6].reshape(3, 2)
        logits = logits[:, None, :] + vector[6:].reshape(5, 2)
        logits = np.concatenate([np.zeros((600, 5, 1)), logits], axis=2)
        logs = logits - np.log(np.exp(logits).sum(axis=2, keepdims=True))
        return -float((exposures * logs).sum())

    best = minimize(whole, learner.start().vector, method="BFGS").x
    assert np.allclose(state.vector, best, atol=1e-4)


def test_with_one_interval_and_nobody_lost_it_is_the_logistic_regression_of_the_event() -> None:
    label = label_of(edges=[5], competing=[])
    followed = follow(800, seed=4, competing=0.0)
    is_known = np.array(
        [w == "fracture" or y >= 2.5 for w, y in zip(followed.status, followed.years, strict=True)]
    )
    patients = Columns(followed.columns[is_known], followed.places(label)[is_known])
    learner = make(label, sums=1000, rate=3000.0, clip_norm=1e6)
    state = federate(learner, [patients], n_declared=len(patients))
    fitted = LogisticRegression(C=1e9, tol=1e-9).fit(patients.columns, patients.target == 0)
    assert np.allclose(state.vector, [*fitted.coef_[0], *fitted.intercept_], atol=1e-5)


def test_what_is_predicted_is_a_likelihood_of_every_class_and_its_ends_add_up_to_one() -> None:
    learner = make(FOLLOWED)
    patients = follow(50, seed=5).as_columns(FOLLOWED)
    state = State(np.random.default_rng(6).normal(size=len(learner.start().vector)))
    found = learner.predict(state, patients)
    ended = [known != -1 for known in FOLLOWED.counts_as()]
    assert np.allclose(found[:, ended].sum(axis=1), 1.0)
    free = found[:, 10:]
    assert (np.diff(free, axis=1) < 0).all(), "whoever is free for longer is fewer"


@pytest.mark.parametrize("target", [np.nan, np.inf, -1.0, 16.0, 0.5, 1e300])
def test_a_target_that_is_no_class_makes_a_row_of_zeros(target: float) -> None:
    learner = make(FOLLOWED)
    assert not learner.rows(learner.start(), Columns(np.ones((1, 3)), np.array([target]))).any()


def test_a_target_that_is_no_time_to_event_is_refused() -> None:
    with pytest.raises(SettingsError) as error:
        make(None)
    assert error.value.code == "settings.needs-follow-up"


@pytest.mark.parametrize("label", [ALONE, FOLLOWED])
def test_it_is_the_multinomial_regression_of_intervals_at_risk_by_scikit_learn(
    label: TimeToEventLabel,
) -> None:
    followed = follow(500, seed=6, competing=0.0 if label is ALONE else 0.05)
    patients = followed.as_columns(label)
    learner = make(label, sums=1000, rate=3000.0, clip_norm=1e6)
    found = federate(learner, in_three(patients), n_declared=500).vector
    # a row for each interval in which a patient was at risk: columns, the interval, what happened
    rows, happened = [], []
    for values, place in zip(patients.columns, patients.target.astype(int), strict=True):
        for interval, seen in enumerate(label.exposures()[place]):
            if seen.any():
                rows.append([*values, *np.eye(label.n_intervals)[interval]])
                happened.append(int(seen.argmax()))
    fitted = LogisticRegression(C=1e8, tol=1e-10, max_iter=10_000, fit_intercept=False).fit(
        rows, happened
    )
    weights = fitted.coef_ if label is ALONE else fitted.coef_[1:] - fitted.coef_[0]
    assert np.allclose(found, weights.T.ravel(), atol=2e-3)
