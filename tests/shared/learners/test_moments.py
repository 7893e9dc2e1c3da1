"""Closed-form readings against scikit-learn on the table that the moments were made of."""

from __future__ import annotations

import math

import numpy as np
import pytest
from practice_tables import classes, numbers
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Lasso, Ridge, lasso_path

from shared.features.columns import Columns
from shared.learners import moments as reading
from shared.learners.moments import Moments
from shared.learners.rows import one_hot, softmax


def moments_of(
    patients: Columns, *, n_classes: int = 0, noise_sd: float = 0.0, seed: int = 0
) -> Moments:
    target = one_hot(patients.target, n_classes) if n_classes else patients.target[:, None]
    joined = np.hstack([patients.columns, target])
    apart = joined - joined.mean(axis=0)
    noise = noise_sd * np.random.default_rng(seed).normal(size=(joined.shape[1],) * 2)
    return Moments(
        n=float(len(patients)),
        mean=joined.mean(axis=0),
        scatter=apart.T @ apart + np.triu(noise) + np.triu(noise, 1).T,
        n_columns=patients.columns.shape[1],
        column_sd=noise_sd,
        target_sd=noise_sd,
    )


PATIENTS = numbers(400, 6)


@pytest.mark.parametrize("penalty", [0.5, 30.0])
def test_ridge_is_that_of_scikit_learn(penalty: float) -> None:
    read = reading.ridge(moments_of(PATIENTS), penalty=penalty)
    oracle = Ridge(alpha=penalty, tol=1e-12).fit(PATIENTS.columns, PATIENTS.target)
    assert np.allclose(read.weights[:, 0], oracle.coef_, atol=1e-8)
    assert read.offset[0] == pytest.approx(oracle.intercept_, abs=1e-8)


def test_the_whole_lasso_path_is_that_of_scikit_learn() -> None:
    n = len(PATIENTS)
    penalties = [300.0, 150.0, 60.0, 20.0, 4.0]
    ours = reading.lasso_path(moments_of(PATIENTS), penalties)
    apart = PATIENTS.columns - PATIENTS.columns.mean(axis=0)
    _, theirs, _ = lasso_path(
        apart,
        PATIENTS.target - PATIENTS.target.mean(),
        alphas=np.array(penalties) / n,
        tol=1e-14,
        max_iter=100_000,
    )
    assert np.allclose(ours, theirs.T, atol=1e-7)
    kept = (ours != 0).sum(axis=1)
    assert (np.diff(kept) >= 0).all()
    assert 0 < kept[0] < 6


def test_one_lasso_has_the_offset_of_scikit_learn() -> None:
    read = reading.lasso(moments_of(PATIENTS), penalty=40.0, ridge_penalty=0.0)
    oracle = Lasso(alpha=40.0 / len(PATIENTS), tol=1e-14, max_iter=100_000)
    oracle.fit(PATIENTS.columns, PATIENTS.target)
    assert read.offset[0] == pytest.approx(oracle.intercept_, abs=1e-7)


def test_discriminants_give_the_probabilities_of_scikit_learn() -> None:
    patients = classes(500, 5)
    read = reading.discriminants(moments_of(patients, n_classes=3), penalty=0.0)
    oracle = LinearDiscriminantAnalysis(solver="lsqr").fit(patients.columns, patients.target)
    ours = softmax(read.offset + patients.columns @ read.weights)
    assert np.allclose(ours, oracle.predict_proba(patients.columns), atol=1e-8)


def test_components_are_those_of_scikit_learn() -> None:
    read = reading.components(moments_of(PATIENTS), n_components=3)
    oracle = PCA(n_components=3).fit(PATIENTS.columns)
    assert np.allclose(np.abs(read.weights.T), np.abs(oracle.components_), atol=1e-8)
    ours = read.offset + PATIENTS.columns @ read.weights
    assert np.allclose(np.abs(ours), np.abs(oracle.transform(PATIENTS.columns)), atol=1e-7)
    largest = np.abs(read.weights).argmax(axis=0)
    assert (read.weights[largest, range(3)] > 0).all()


def test_the_norm_of_the_noise_is_what_it_is_expected_to_be() -> None:
    nobody = Columns(np.zeros((5, 80)), np.arange(5.0))
    found = [
        np.linalg.eigvalsh(moments_of(nobody, noise_sd=2.0, seed=seed).scatter[:80, :80])[-1]
        for seed in range(20)
    ]
    expected = moments_of(nobody, noise_sd=2.0).noise_norm
    assert expected == pytest.approx(2 * 2.0 * math.sqrt(80))
    assert np.mean(found) == pytest.approx(expected, rel=0.05)


def test_a_matrix_that_noise_made_indefinite_has_no_negative_eigenvalue_left() -> None:
    noised = moments_of(numbers(20, 30), noise_sd=20.0)
    assert np.linalg.eigvalsh(noised.scatter[:30, :30])[0] < -10
    assert np.linalg.eigvalsh(noised.columns)[0] > -1e-9


def test_the_lasso_penalty_grows_with_noise_and_is_the_universal_threshold_without() -> None:
    quiet = reading.noise_penalty(moments_of(PATIENTS), multiple=1.0)
    assert quiet == pytest.approx(math.sqrt(400 * 2 * math.log(6)))
    loud = reading.noise_penalty(moments_of(PATIENTS, noise_sd=300.0), multiple=0.5)
    assert loud == pytest.approx(0.5 * math.hypot(300.0, 20.0) * math.sqrt(2 * math.log(6)))


def test_noise_in_class_means_is_taken_off_their_length() -> None:
    # Three equal classes that differ by nothing but noise of SD 3, of 300 patients and 50 columns of
    # scatter 100: 300·50·(3/100)²/100 = 0.135 would be their squared length, half of it in the offset.
    draw = np.random.default_rng(0)
    offsets = []
    for _ in range(200):
        scatter = np.zeros((53, 53))
        scatter[:50, :50] = 100.0 * np.eye(50)
        scatter[:50, 50:] = 3.0 * draw.normal(size=(50, 3))
        mean = np.concatenate([np.zeros(50), np.full(3, 1 / 3)])
        noised = Moments(
            n=300.0, mean=mean, scatter=scatter, n_columns=50, column_sd=0.0, target_sd=3.0
        )
        offsets.append(reading.discriminants(noised, penalty=0.0).offset)
    assert np.mean(offsets) == pytest.approx(math.log(1 / 3), abs=0.01)
