"""The matrix that sites add up is the pooled table's, and what is read from it is the oracle's."""

from __future__ import annotations

import numpy as np
import pytest
from practice_tables import classes, in_three, numbers, table_task
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Ridge

from shared.errors import SettingsError
from shared.features.columns import Columns
from shared.learners.second_moments import SecondMoments, SecondMomentsSettings
from shared.learners.task import TableTask
from shared.sums.contract import State
from shared.sums.federate import Noise, federate
from shared.sums.total import total_of


def make(task: TableTask, **changes: object) -> SecondMoments:
    values = {"kind": "second_moments", "radius_squared": 100.0, **changes}
    return SecondMoments.build(SecondMomentsSettings.model_validate(values), task)


def test_federated_ridge_equals_that_of_scikit_learn_on_the_pooled_table() -> None:
    patients, fresh = numbers(300, 8), numbers(50, 8, seed=1)
    learner = make(table_task(8), penalty=3.0)
    # A declared size that is wrong moves the centre, and by that nothing.
    state = federate(learner, in_three(patients), n_declared=410)
    oracle = Ridge(alpha=3.0, tol=1e-12).fit(patients.columns, patients.target)
    assert np.allclose(learner.predict(state, fresh)[:, 0], oracle.predict(fresh.columns), atol=1e-8)


def test_federated_discriminants_equal_those_of_scikit_learn() -> None:
    patients, fresh = classes(300, 4), classes(50, 4, seed=1)
    learner = make(table_task(4, n_classes=3), read_as="discriminants", penalty=0.0)
    state = federate(learner, in_three(patients), n_declared=300)
    oracle = LinearDiscriminantAnalysis(solver="lsqr").fit(patients.columns, patients.target)
    assert np.allclose(learner.predict(state, fresh), oracle.predict_proba(fresh.columns), atol=1e-8)


def test_the_last_state_keeps_the_matrix_for_other_readings() -> None:
    patients = numbers(200, 3)
    learner = make(table_task(3), number_weight=2.5)
    moments = learner.moments_of(federate(learner, in_three(patients), n_declared=200))
    joined = np.hstack([patients.columns, patients.target[:, None]])
    assert moments.n == pytest.approx(200)
    assert np.allclose(moments.mean, joined.mean(axis=0), atol=1e-10)
    assert np.allclose(moments.scatter, 200 * np.cov(joined.T, bias=True), atol=1e-8)


def test_the_noise_that_is_known_of_each_product_is_the_noise_that_it_has() -> None:
    nobody = Columns(np.zeros((0, 3)), np.zeros(0))
    learner = make(table_task(3), number_weight=2.0, radius_squared=1.0)
    draw = np.random.default_rng(0)
    noise = Noise(1.0, lambda n: draw.standard_normal(n))
    found = [
        learner.moments_of(federate(learner, [nobody], n_declared=1e9, noise=noise)) for _ in range(400)
    ]
    off_diagonal = [moments.scatter[0, 1] for moments in found]
    with_target = [moments.scatter[0, 3] for moments in found]
    assert np.std(off_diagonal) == pytest.approx(found[0].column_sd, rel=0.1)
    assert np.std(with_target) == pytest.approx(found[0].target_sd, rel=0.1)


def test_a_row_is_the_triangle_of_products_about_the_means_by_hand() -> None:
    learner = make(table_task(1))
    patient = Columns(np.array([[3.0]]), np.array([2.0]))
    row = learner.rows(State(np.array([1.0, 0.5]), 1), patient)[0]
    # v = (1, 3 − 1, 2 − 0.5)
    root = np.sqrt(2.0)
    assert row.tolist() == pytest.approx([1, 2 * root, 1.5 * root, 4, 3 * root, 2.25])
    assert np.linalg.norm(row) == pytest.approx(1 + 4 + 2.25)


def test_a_centre_that_noise_threw_far_off_stays_within_the_public_ranges() -> None:
    learner = make(table_task(2))
    state = learner.advance(learner.start(), np.array([1e9, -1e9, 1e9]), sd=1e9, n_declared=10)
    assert state.vector.tolist() == [100.0, -100.0, 4.0]


def test_a_patient_without_label_is_in_neither_sum() -> None:
    learner = make(table_task(2))
    patient = Columns(np.ones((1, 2)), np.array([np.nan]))
    for state in (learner.start(), State(np.zeros(3), 1)):
        assert not total_of(learner, state, patient).any()


@pytest.mark.parametrize(
    ("counted", "sd", "taken"),
    [(500.0, 1.0, 200.0), (3.0, 1.0, 50.0), (120.0, 1.0, 120.0), (500.0, 0.0, 500.0)],
)
def test_a_noised_count_stays_within_a_factor_of_two_of_the_declared_patients(
    counted: float, sd: float, taken: float
) -> None:
    learner = make(table_task(1))
    total = np.array([counted, 0.0, 0.0, 9.0, 0.0, 9.0])
    state = learner.advance(State(np.zeros(2), 1), total, sd=sd, n_declared=100)
    assert learner.moments_of(state).n == taken


def test_the_penalty_is_never_below_the_share_of_the_noise() -> None:
    patients = numbers(200, 10)
    learner = make(table_task(10), penalty=0.0, radius_squared=1.0)
    draw = np.random.default_rng(2)
    state = federate(
        learner, [patients], n_declared=200, noise=Noise(0.05, lambda n: draw.standard_normal(n))
    )
    moments = learner.moments_of(state)
    longest = np.abs(moments.with_targets).sum() / (0.6 * moments.noise_norm)
    assert np.abs(state.vector[1:]).sum() <= longest * (1 + 1e-9)


@pytest.mark.parametrize(("read_as", "n_classes"), [("ridge", 3), ("lasso", 3), ("discriminants", 0)])
def test_a_reading_that_does_not_suit_the_target_is_refused(read_as: str, n_classes: int) -> None:
    with pytest.raises(SettingsError) as error:
        make(table_task(4, n_classes=n_classes), read_as=read_as)
    assert error.value.code == "settings.wrong-reading"


def test_more_components_than_columns_are_refused() -> None:
    with pytest.raises(SettingsError) as error:
        make(table_task(4), read_as="components", n_components=5)
    assert error.value.code == "settings.too-many-components"


def test_a_penalty_below_the_noise_cannot_be_set() -> None:
    with pytest.raises(ValueError, match="noise_share"):
        SecondMomentsSettings(kind="second_moments", noise_share=0.2)
