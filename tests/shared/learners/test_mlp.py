"""Back-propagation against torch's autograd, the first state, and what a hidden layer can tell."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from practice_tables import table_task
from sklearn.neural_network import MLPClassifier

from shared.errors import SettingsError
from shared.features.columns import Columns
from shared.learners.mlp import Mlp, MlpSettings
from shared.learners.task import TableTask
from shared.sums.contract import State
from shared.sums.federate import federate


def make(task: TableTask, *, rate: float = 10.0, **changes: object) -> Mlp:
    schedule = [{"up_to_epsilon": 50.0, "rate_times_sums": rate}]
    values = {"kind": "mlp", "schedule": schedule, **changes}
    return Mlp.build(MlpSettings.model_validate(values), task)


def crossed(n: int, seed: int) -> Columns:
    """Two classes that no straight line tells apart: whether two columns have one sign."""
    values = np.random.default_rng(seed).normal(size=(n, 2))
    return Columns(values, (values[:, 0] * values[:, 1] > 0).astype(np.float64))


def test_a_row_is_the_gradient_that_autograd_finds() -> None:
    draw = np.random.default_rng(0)
    learner = make(table_task(4, n_classes=3), hidden=5, clip_norm=1e6)
    vector = draw.normal(size=len(learner.start().vector))
    patients = Columns(draw.normal(size=(20, 4)), np.arange(20.0) % 3)
    rows = learner.rows(State(vector), patients)
    for row, values, target in zip(rows, patients.columns, patients.target, strict=True):
        weights = torch.tensor(vector, requires_grad=True)
        inwards, outwards = weights[:25].reshape(5, 5), weights[25:].reshape(6, 3)
        hidden = torch.tanh(inwards[0] + torch.tensor(values) @ inwards[1:])
        scores = outwards[0] + hidden @ outwards[1:]
        torch.nn.functional.cross_entropy(scores[None], torch.tensor([int(target)])).backward()
        assert np.allclose(row, weights.grad.numpy(), atol=1e-10)


def test_it_tells_what_no_straight_line_tells_as_scikit_learn_does() -> None:
    patients, fresh = crossed(400, 0), crossed(400, 1)
    learner = make(table_task(2, n_classes=2), hidden=8, sums=400, rate=1200.0, clip_norm=1e6)
    state = federate(learner, [patients], n_declared=400)
    right = (learner.predict(state, fresh).argmax(axis=1) == fresh.target).mean()
    reference = MLPClassifier(
        (8,), activation="tanh", solver="lbfgs", alpha=1.0, max_iter=2000, random_state=0
    )
    reference.fit(patients.columns, patients.target)
    assert right > 0.9
    assert right > reference.score(fresh.columns, fresh.target) - 0.05


def test_the_first_weights_are_the_seeds_and_say_nothing() -> None:
    task = table_task(4, n_classes=3)
    learner = make(task, hidden=3)
    first = learner.start().vector
    assert np.array_equal(first, make(task, hidden=3).start().vector)
    assert not np.array_equal(first, make(table_task(4, n_classes=3, seed=2), hidden=3).start().vector)
    shares = learner.predict(learner.start(), Columns(np.ones((1, 4)), np.zeros(1)))
    assert shares[0].tolist() == pytest.approx([1 / 3] * 3)
    # Made with numpy 2.4's RandomState on 2026-11-27, whose stream is frozen (NEP 19).
    assert first[3:6].tolist() == pytest.approx(FIRST, abs=1e-9)


FIRST = [-0.3779576093713285, 0.32163229930704323, 0.11351065990669025]


def test_a_number_as_target_is_refused() -> None:
    with pytest.raises(SettingsError) as error:
        make(table_task(2))
    assert error.value.code == "settings.needs-classes"
