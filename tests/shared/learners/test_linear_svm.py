"""The smoothed margin against autograd, and its minimum against scikit-learn's Crammer and Singer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from practice_tables import classes, in_three, table_task
from sklearn.svm import LinearSVC

from shared.errors import SettingsError
from shared.features.columns import Columns
from shared.learners.descent import class_scores
from shared.learners.linear_svm import LinearSvm, LinearSvmSettings
from shared.learners.task import TableTask
from shared.sums.contract import State
from shared.sums.federate import federate


def make(task: TableTask, *, rate: float = 10.0, **changes: object) -> LinearSvm:
    schedule = [{"up_to_epsilon": 50.0, "rate_times_sums": rate}]
    values = {"kind": "linear_svm", "schedule": schedule, **changes}
    return LinearSvm.build(LinearSvmSettings.model_validate(values), task)


def joint_hinge(scores: np.ndarray, target: np.ndarray) -> float:
    """Crammer and Singer's mean loss, patient by patient."""
    losses = []
    for each, label in zip(scores, target.astype(int), strict=True):
        losses.append(max(0.0, *(1 + each[j] - each[label] for j in range(len(each)) if j != label)))
    return float(np.mean(losses))


def test_a_row_is_the_gradient_of_the_smoothed_margin_that_autograd_finds() -> None:
    draw = np.random.default_rng(0)
    learner = make(table_task(4, n_classes=3), clip_norm=1e6, smoothing=0.3)
    patients, vector = Columns(draw.normal(size=(20, 4)), np.arange(20.0) % 3), draw.normal(size=15)
    rows = learner.rows(State(vector), patients)
    for row, values, target in zip(rows, patients.columns, patients.target, strict=True):
        weights = torch.tensor(vector, requires_grad=True)
        table = weights.reshape(5, 3)
        scores = table[0] + torch.tensor(values) @ table[1:]
        margin = torch.tensor([0.0 if j == target else 1.0 for j in range(3)])
        loss = 0.3 * torch.logsumexp((margin + scores - scores[int(target)]) / 0.3, dim=0)
        loss.backward()
        assert np.allclose(row, weights.grad.numpy(), atol=1e-10)


def test_without_noise_it_comes_to_the_joint_margin_that_scikit_learn_finds() -> None:
    patients = classes(400, 3)
    learner = make(table_task(3, n_classes=3), sums=300, rate=600.0, clip_norm=1e6, smoothing=0.02)
    state = federate(learner, in_three(patients), n_declared=400)
    found = joint_hinge(class_scores(patients.columns, state.vector, n_classes=3), patients.target)
    reference = LinearSVC(multi_class="crammer_singer", C=1.0, max_iter=20_000, random_state=0)
    reference.fit(patients.columns, patients.target.astype(int))
    expected = joint_hinge(reference.decision_function(patients.columns), patients.target)
    assert found <= expected * 1.02
    assert joint_hinge(np.zeros((400, 3)), patients.target) == 1.0


def test_a_middle_class_is_ranked() -> None:
    patients, fresh = classes(600, 3), classes(600, 3, seed=1)
    learner = make(table_task(3, n_classes=3), sums=100, rate=300.0, clip_norm=5.0)
    shares = learner.predict(federate(learner, [patients], n_declared=600), fresh)
    middle = fresh.target == 1
    above = shares[middle, 1][:, None] > shares[~middle, 1][None, :]
    assert above.mean() > 0.65, "one against the rest has about .5"


def test_a_number_as_target_is_refused() -> None:
    with pytest.raises(SettingsError) as error:
        make(table_task(2))
    assert error.value.code == "settings.needs-classes"
