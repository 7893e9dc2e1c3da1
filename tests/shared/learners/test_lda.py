"""Both readings against scikit-learn, the bound by hand, and which reading ε chooses."""

from __future__ import annotations

import numpy as np
import pytest
from practice_tables import classes, in_three, table_task
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.naive_bayes import GaussianNB

from shared.errors import SettingsError
from shared.features.columns import Columns
from shared.learners.lda import Lda, LdaSettings
from shared.learners.task import TableTask
from shared.sums.federate import federate


def make(task: TableTask, **changes: object) -> Lda:
    values = {"kind": "lda", "radius_per_column": 100.0, "penalty": 0.0, **changes}
    return Lda.build(LdaSettings.model_validate(values), task)


def test_from_the_matrix_it_is_scikit_learns_discriminants() -> None:
    patients, fresh = classes(400, 4), classes(200, 4, seed=1)
    learner = make(table_task(4, n_classes=3))
    state = federate(learner, in_three(patients), n_declared=400)
    # n classes of a pooled covariance divided by n: the maximum likelihood that solver "lsqr" takes
    reference = LinearDiscriminantAnalysis(solver="lsqr").fit(patients.columns, patients.target)
    expected = reference.predict_proba(fresh.columns)
    np.testing.assert_allclose(learner.predict(state, fresh), expected, atol=1e-6)


def test_from_class_sums_columns_of_one_public_variance_are_those_of_a_gaussian() -> None:
    patients, fresh = classes(400, 4), classes(200, 4, seed=1)
    learner = make(table_task(4, n_classes=3), reading="class_sums")
    state = federate(learner, in_three(patients), n_declared=400)
    reference = GaussianNB().fit(patients.columns, patients.target)
    reference.var_[:] = 1.0  # the columns' public SD
    expected = reference.predict_proba(fresh.columns)
    np.testing.assert_allclose(learner.predict(state, fresh), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("epsilon", "reading", "length"),
    [(1.0, "class_sums", 15), (3.0, "matrix", 25), (None, "matrix", 25)],
)
def test_a_small_epsilon_asks_for_class_sums_alone(
    epsilon: float | None, reading: str, length: int
) -> None:
    task = table_task(4, n_classes=3, epsilon=epsilon)
    assert LdaSettings(kind="lda").reading_at(epsilon) == reading
    learner = make(task)
    assert learner.length(learner.start()) == length
    assert make(task, reading="matrix").length(learner.start()) == 25, "what a plan says goes first"


def test_a_row_holds_count_columns_and_products_by_hand() -> None:
    learner = make(
        table_task(2, n_classes=2), radius_per_column=12.5, count_weight=0.2, matrix_weight=1
    )
    patients = Columns(np.array([[3.0, 4.0], [60.0, 80.0], [1.0, np.nan]]), np.array([1.0, 0.0, 0.0]))
    rows = learner.rows(learner.start(), patients)
    # R = 5, a = 1, b = 1/5: (3, 4) has norm 5, and (60, 80) is brought there
    products = [9 / 5, np.sqrt(2) * 12 / 5, 16 / 5]
    assert rows[0].tolist() == pytest.approx([0, 0, 0, 1, 3, 4, *products])
    assert rows[1].tolist() == pytest.approx([1, 3, 4, 0, 0, 0, *products])
    assert not rows[2].any()
    assert np.linalg.norm(rows[0]) == pytest.approx(learner.bound(learner.start())) == np.sqrt(51)


def test_noise_shortens_the_weights() -> None:
    learner, patients = make(table_task(4, n_classes=3)), classes(300, 4)
    total = learner.rows(learner.start(), patients).sum(axis=0)
    lengths = [
        np.abs(learner.advance(learner.start(), total, sd=sd, n_declared=300).vector[3:]).max()
        for sd in (0.0, 100.0, 1000.0)
    ]
    assert lengths[0] > lengths[1] > lengths[2]


def test_a_number_as_target_is_refused() -> None:
    with pytest.raises(SettingsError) as error:
        make(table_task(2))
    assert error.value.code == "settings.needs-classes"
