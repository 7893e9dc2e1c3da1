"""Gradient against torch's autograd, and the fit against a general optimiser of the likelihood."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from practice_tables import classes, in_three, table_task
from scipy.optimize import minimize

from shared.errors import SettingsError
from shared.features.columns import Columns
from shared.learners.proportional_odds import ProportionalOdds, ProportionalOddsSettings, _apart
from shared.learners.task import TableTask
from shared.sums.contract import State
from shared.sums.federate import Noise, federate


def make(task: TableTask, *, rate: float = 10.0, **changes: object) -> ProportionalOdds:
    values = {
        "kind": "proportional_odds",
        "schedule": [
            {"up_to_epsilon": 1.0, "rate_times_sums": rate / 2},
            {"up_to_epsilon": 50.0, "rate_times_sums": rate},
        ],
        **changes,
    }
    return ProportionalOdds.build(ProportionalOddsSettings.model_validate(values), task)


def loss(vector: torch.Tensor, values: torch.Tensor, target: int, f: int) -> torch.Tensor:
    """−log P(class) written as the model says it, without any of our algebra."""
    score = values @ vector[:f]
    below = torch.cat([torch.zeros(1), torch.sigmoid(vector[f:] - score), torch.ones(1)])
    return -torch.log(below[target + 1] - below[target])


@pytest.mark.parametrize("n_classes", [2, 3, 5])
def test_a_row_is_the_gradient_that_autograd_finds(n_classes: int) -> None:
    torch.set_default_dtype(torch.float64)
    try:
        draw = np.random.default_rng(n_classes)
        learner = make(table_task(4, n_classes=n_classes), clip_norm=1e6)
        vector = np.concatenate([draw.normal(size=4), np.sort(draw.normal(size=n_classes - 1))])
        patients = Columns(draw.normal(size=(20, 4)), np.arange(20.0) % n_classes)
        rows = learner.rows(State(vector), patients)
        for row, values, target in zip(rows, patients.columns, patients.target, strict=True):
            weights = torch.tensor(vector, requires_grad=True)
            loss(weights, torch.tensor(values), int(target), 4).backward()
            assert np.allclose(row, weights.grad.numpy(), atol=1e-10)
    finally:
        torch.set_default_dtype(torch.float32)


def test_without_noise_and_clipping_it_comes_to_the_maximum_of_the_likelihood() -> None:
    patients = classes(400, 3)
    learner = make(table_task(3, n_classes=3), sums=1000, rate=6000.0, clip_norm=1e6)
    state = federate(learner, in_three(patients), n_declared=400)

    def whole(vector: np.ndarray) -> float:
        score = patients.columns @ vector[:3]
        below = 1 / (1 + np.exp(np.clip(score[:, None] - vector[3:], -500, 500)))
        edges = np.hstack([np.zeros((400, 1)), below, np.ones((400, 1))])
        index = patients.target.astype(int)
        shares = edges[np.arange(400), index + 1] - edges[np.arange(400), index]
        return float(-np.log(np.maximum(shares, 1e-300)).sum())

    best = minimize(whole, learner.start().vector, method="BFGS").x
    assert np.allclose(state.vector, best, atol=0.02 * np.abs(best).max())


def test_cuts_stay_in_order_whatever_the_noise() -> None:
    draw = np.random.default_rng(0)
    learner = make(table_task(4, n_classes=5))
    noise = Noise(0.02, lambda n: draw.standard_normal(n))
    patients = Columns(draw.normal(size=(50, 4)), np.arange(50.0) % 5)
    state = federate(learner, [patients], n_declared=50, noise=noise)
    assert (np.diff(state.vector[4:]) >= 0.1 - 1e-9).all()
    shares = learner.predict(state, patients)
    assert (shares > 0).all()
    assert np.allclose(shares.sum(axis=1), 1.0)


def test_before_any_sum_all_classes_are_equally_likely() -> None:
    learner = make(table_task(2, n_classes=3))
    shares = learner.predict(learner.start(), Columns(np.ones((1, 2)), np.zeros(1)))
    assert shares[0].tolist() == pytest.approx([1 / 3] * 3)


@pytest.mark.parametrize("target", [np.nan, np.inf, -1.0, 3.0, 0.5, 1e300])
def test_a_target_that_is_no_class_makes_a_row_of_zeros(target: float) -> None:
    learner = make(table_task(2, n_classes=3))
    assert not learner.rows(learner.start(), Columns(np.ones((1, 2)), np.array([target]))).any()


def test_a_number_as_target_is_refused() -> None:
    with pytest.raises(SettingsError) as error:
        make(table_task(2))
    assert error.value.code == "settings.needs-classes"


def test_three_classes_without_an_order_are_refused() -> None:
    with pytest.raises(SettingsError) as error:
        make(table_task(2, n_classes=3, is_ordered=False))
    assert error.value.code == "settings.needs-ordered-classes"


@pytest.mark.parametrize("cuts", [[0.0, 0.0], [1.0, -1.0], [0.5, 0.55], [-1.0, 2.0], [3.0, 3.0, 3.0]])
def test_cuts_stay_apart_so_that_no_class_vanishes(cuts: list[float]) -> None:
    apart = _apart(np.array(cuts))
    assert (np.diff(apart) >= 0.1 - 1e-12).all()
    if (np.diff(cuts) >= 0.1).all():
        assert apart.tolist() == cuts
