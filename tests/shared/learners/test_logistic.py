"""Gradient against torch's autograd, and the fit against scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from practice_tables import classes, in_three, table_task
from sklearn.linear_model import LogisticRegression

from shared.errors import SettingsError
from shared.features.columns import Columns
from shared.learners.logistic import Logistic, LogisticSettings
from shared.learners.task import TableTask
from shared.sums.contract import State
from shared.sums.federate import federate


def make(task: TableTask, *, rate: float = 10.0, **changes: object) -> Logistic:
    schedule = [{"up_to_epsilon": 50.0, "rate_times_sums": rate}]
    values = {"kind": "logistic", "schedule": schedule, **changes}
    return Logistic.build(LogisticSettings.model_validate(values), task)


@pytest.mark.parametrize("n_classes", [2, 3, 5])
def test_a_row_is_the_gradient_that_autograd_finds(n_classes: int) -> None:
    draw = np.random.default_rng(n_classes)
    learner = make(table_task(4, n_classes=n_classes), clip_norm=1e6)
    patients = Columns(draw.normal(size=(20, 4)), np.arange(20.0) % n_classes)
    vector = draw.normal(size=5 * n_classes)
    rows = learner.rows(State(vector), patients)
    for row, values, target in zip(rows, patients.columns, patients.target, strict=True):
        weights = torch.tensor(vector, requires_grad=True)
        table = weights.reshape(5, n_classes)
        scores = table[0] + torch.tensor(values) @ table[1:]
        torch.nn.functional.cross_entropy(scores[None], torch.tensor([int(target)])).backward()
        assert np.allclose(row, weights.grad.numpy(), atol=1e-10)


def test_without_noise_and_clipping_it_comes_to_what_scikit_learn_finds() -> None:
    patients, fresh = classes(400, 3), classes(200, 3, seed=1)
    learner = make(table_task(3, n_classes=3), sums=500, rate=1500.0, clip_norm=1e6)
    state = federate(learner, in_three(patients), n_declared=400)
    reference = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000).fit(
        patients.columns, patients.target.astype(int)
    )
    expected = reference.predict_proba(fresh.columns)
    assert np.allclose(learner.predict(state, fresh), expected, atol=0.01)


@pytest.mark.parametrize("target", [np.nan, np.inf, -1.0, 3.0, 0.5, 1e300])
def test_a_target_that_is_no_class_makes_a_row_of_zeros(target: float) -> None:
    learner = make(table_task(2, n_classes=3))
    assert not learner.rows(learner.start(), Columns(np.ones((1, 2)), np.array([target]))).any()


def test_before_any_sum_all_classes_are_equally_likely() -> None:
    learner = make(table_task(2, n_classes=3))
    shares = learner.predict(learner.start(), Columns(np.ones((1, 2)), np.zeros(1)))
    assert shares[0].tolist() == pytest.approx([1 / 3] * 3)


def test_a_number_as_target_is_refused() -> None:
    with pytest.raises(SettingsError) as error:
        make(table_task(2))
    assert error.value.code == "settings.needs-classes"
