"""Naive Bayes against scikit-learn where their models agree, and against the table by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from practice_tables import classes, in_three, table_task
from sklearn.naive_bayes import GaussianNB

from shared.errors import SettingsError
from shared.features.columns import Columns
from shared.learners.naive_bayes import NaiveBayes, NaiveBayesSettings
from shared.learners.task import TableTask
from shared.sums.contract import State
from shared.sums.federate import federate


def make(task: TableTask, **changes: object) -> NaiveBayes:
    values = {"kind": "naive_bayes", "radius_per_column": 100.0, "temper": 1.0, **changes}
    return NaiveBayes.build(NaiveBayesSettings.model_validate(values), task)


def test_counts_means_and_pooled_variances_are_those_of_the_table() -> None:
    patients = classes(500, 4)
    learner = make(table_task(4, n_classes=3))
    state = federate(learner, in_three(patients), n_declared=500)
    groups = [patients.columns[patients.target == index] for index in range(3)]
    within = sum(len(group) * group.var(axis=0) for group in groups) / 500
    expected = np.concatenate(
        [
            np.log([len(group) / 500 for group in groups]),
            np.concatenate([group.mean(axis=0) for group in groups]),
            within,
        ]
    )
    assert np.allclose(state.vector, expected, atol=1e-9)


def test_where_classes_have_equal_variances_it_predicts_as_scikit_learn_does() -> None:
    draw = np.random.default_rng(0)
    target = np.repeat([0.0, 1.0, 2.0], [3000, 5000, 2000])
    means = np.array([[0.0, 0.0, 0.4], [0.9, -0.3, 0.0], [0.2, 1.0, -0.5]])
    patients = Columns(means[target.astype(int)] + draw.normal(size=(10_000, 3)), target)
    learner = make(table_task(3, n_classes=3))
    ours = learner.predict(federate(learner, [patients], n_declared=10_000), patients)
    theirs = GaussianNB().fit(patients.columns, target).predict_proba(patients.columns)
    # It takes variances by class, which differ by their sampling; far out that shows.
    assert np.abs(ours - theirs).mean() < 0.01
    assert np.abs(ours - theirs).max() < 0.15
    assert (ours.argmax(axis=1) == theirs.argmax(axis=1)).mean() > 0.99


def test_a_row_by_hand() -> None:
    learner = make(table_task(2, n_classes=2), square_weight=0.5, radius_per_column=2.0)
    row = learner.rows(learner.start(), Columns(np.array([[1.0, 0.0]]), np.array([1.0])))[0]
    # u = (1, 0), w·(u² − 1) = (0, −0.5): of norm √1.25, below R = 2
    assert row.tolist() == [0, 0, 0, 0, 0, 1, 1, 0, 0, -0.5]
    assert learner.bound(learner.start()) == pytest.approx(math.sqrt(1 + 4))


def test_means_are_drawn_together_by_as_much_as_the_noise_puts_between_them() -> None:
    learner = make(table_task(40, n_classes=2))
    draw = np.random.default_rng(1)
    table = np.zeros((2, 81))
    table[:, 0] = 100.0
    table[:, 1:] = 50.0 * draw.normal(size=(2, 80))  # nothing but noise of SD 50
    state = learner.advance(learner.start(), table.ravel(), sd=50.0, n_declared=200)
    first, second = state.vector[2:82].reshape(2, 40)
    assert np.linalg.norm(first - second) < 0.4 * np.linalg.norm((table[0] - table[1])[1:41] / 100)


def test_the_noise_of_a_mean_falls_with_the_size_of_its_class_by_hand() -> None:
    learner = make(table_task(1, n_classes=2))
    total = np.array([100.0, 100.0, 0.0, 400.0, 0.0, 0.0])  # means of 1 and 0, about a common 0.2
    state = learner.advance(learner.start(), total, sd=10.0, n_declared=500)
    # noise has an SD of 0.1 and 0.025 in them: 1 − 0.1²/0.8² = 1 − 0.025²/0.2² is kept
    assert state.vector[2:4] == pytest.approx([0.2 + 0.8 * 63 / 64, 0.2 - 0.2 * 63 / 64])


def test_evidence_is_divided_by_the_temper_by_hand() -> None:
    # Two equally frequent classes at −1 and 1, variance 1: log-odds at x are 2x, over 4 with temper 4.
    patient = Columns(np.array([[0.7]]), np.zeros(1))
    state = State(np.array([math.log(0.5), math.log(0.5), -1.0, 1.0, 1.0]), 1)
    for temper in (1.0, 4.0):
        share = make(table_task(1, n_classes=2), temper=temper).predict(state, patient)[0, 1]
        assert share == pytest.approx(1 / (1 + math.exp(-1.4 / temper)))


def test_a_variance_is_never_below_its_floor() -> None:
    patients = Columns(np.repeat([[0.5], [-0.5]], 30, axis=0), np.repeat([0.0, 1.0], 30))
    learner = make(table_task(1, n_classes=2), variance_floor=0.3)
    assert federate(learner, [patients], n_declared=60).vector[-1] == 0.3


def test_a_class_that_nobody_has_is_not_predicted_and_breaks_nothing() -> None:
    patients = Columns(np.random.default_rng(0).normal(size=(50, 2)), np.arange(50.0) % 2)
    learner = make(table_task(2, n_classes=3))
    shares = learner.predict(federate(learner, [patients], n_declared=50), patients)
    assert shares[:, 2].max() < 0.1
    assert np.allclose(shares.sum(axis=1), 1.0)


def test_a_class_that_the_noise_swallows_is_taken_as_large_as_the_noise() -> None:
    learner = make(table_task(1, n_classes=2))
    table = np.array([[100.0, 0.0, 0.0], [-30.0, 0.0, 0.0]])
    state = learner.advance(learner.start(), table.ravel(), sd=25.0, n_declared=100)
    assert np.exp(state.vector[:2]).tolist() == pytest.approx([0.8, 0.2])


def test_a_number_as_target_is_refused() -> None:
    with pytest.raises(SettingsError) as error:
        make(table_task(2))
    assert error.value.code == "settings.needs-classes"
