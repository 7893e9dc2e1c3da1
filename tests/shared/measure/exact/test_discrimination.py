"""AUC, DeLong and the patient bootstrap against published and independent answers."""

from __future__ import annotations

from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from shared.errors import ProtocolError
from shared.measure.exact.discrimination import (
    auc_influence,
    bootstrap_auc,
    compare_aucs,
    delong,
    exact_auc_interval,
    logit_interval,
    measure_auc,
)

ASAH = np.loadtxt(Path(__file__).with_name("asah_midranks.csv"), delimiter=",", skiprows=5)


def pair_matrix(scores: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """DeLong by its definition, every positive against every negative."""
    wins = [np.sign(s[positive][:, None] - s[~positive][None]) / 2 + 0.5 for s in scores]
    rows = np.array([w.mean(axis=1) for w in wins])
    columns = np.array([w.mean(axis=0) for w in wins])
    covariance = np.cov(rows) / rows.shape[1] + np.cov(columns) / columns.shape[1]
    return rows.mean(axis=1), np.atleast_2d(covariance)


def tied_scores(seed: int, n: int = 300) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    positive = generator.random(n) < 0.3
    scores = generator.standard_normal((2, n)) + positive
    scores[1] = np.round(scores[1] * 2)
    return scores, positive


def test_delong_gives_the_published_answer_on_asah() -> None:
    found = compare_aucs(ASAH[:, 1], ASAH[:, 2], ASAH[:, 0] == 1)
    assert found.auc_a == pytest.approx(0.7313686, abs=5e-8)
    assert found.auc_b == pytest.approx(0.8236789, abs=5e-8)
    assert found.z == pytest.approx(-2.2089836, abs=5e-8)
    assert found.p == pytest.approx(0.0271758, abs=5e-8)


@pytest.mark.parametrize("seed", range(5))
def test_auc_and_covariance_equal_the_pair_matrix_with_ties(seed: int) -> None:
    scores, positive = tied_scores(seed)
    aucs, covariance = delong(scores, positive)
    expected_aucs, expected_covariance = pair_matrix(scores, positive)
    assert np.allclose(aucs, expected_aucs, atol=1e-14, rtol=0)
    assert np.allclose(covariance, expected_covariance, atol=1e-14, rtol=0)
    for score, auc in zip(scores, aucs, strict=True):
        assert auc == pytest.approx(roc_auc_score(positive, score), abs=1e-14)
        assert measure_auc(score, positive) == pytest.approx(auc, abs=1e-14)


def test_parts_of_patients_add_up_to_delongs_covariance() -> None:
    scores, positive = tied_scores(3)
    aucs, parts = auc_influence(scores, positive)
    expected, covariance = delong(scores, positive)
    np.testing.assert_allclose(aucs, expected, atol=1e-12)
    np.testing.assert_allclose(parts @ parts.T, covariance, atol=1e-12)


def test_auc_by_hand() -> None:
    # positives 2 and 3, negatives 1 and 2: 2 beats 1 and ties 2, 3 beats both: 3.5 of 4
    assert measure_auc(np.array([2.0, 3, 1, 2]), np.array([1, 1, 0, 0], bool)) == 0.875


def test_two_equal_scores_do_not_differ() -> None:
    scores, positive = tied_scores(9)
    assert compare_aucs(scores[0], scores[0], positive).p == 1.0


def test_one_class_is_refused() -> None:
    with pytest.raises(ProtocolError, match="positive"):
        measure_auc(np.zeros(3), np.zeros(3, bool))


def test_logit_interval_by_hand_and_inside_zero_and_one() -> None:
    # logit 0.9 = 2.19722, half width 1.959964·0.05/0.09 = 1.08887
    low, high = logit_interval(0.9, 0.05**2)
    assert low == pytest.approx(0.75183, abs=1e-5)
    assert high == pytest.approx(0.96395, abs=1e-5)
    assert logit_interval(1.0, 0.0) == (1.0, 1.0)
    assert logit_interval(0.9999, 0.05**2) == (0.0, 1.0), "980 on the logit scale is no overflow"


def test_an_interval_of_few_positives_leans_on_the_sizes_and_on_students_quantile() -> None:
    # Hanley and McNeil, 20 and 180: .09·(1 + 99·(.1/1.1 + .9/1.9))/3600 = .00142237; DeLong's .0025:
    # (19·.0025 + 5·.00142237)/24 = .00227549; t of 19 is 2.093024, half width 2.093024·.0477021/.09
    low, high = exact_auc_interval(0.9, 0.05**2, n_positive=20, n_negative=180)
    assert (low, high) == pytest.approx((0.74798, 0.96465), abs=1e-5)
    many = exact_auc_interval(0.9, 0.05**2, n_positive=20_000, n_negative=180_000)
    assert many == pytest.approx(logit_interval(0.9, 0.05**2), abs=1e-3)


@pytest.mark.parametrize("auc", [0.0, 1.0])
def test_an_interval_of_a_perfect_ranking_has_the_width_of_its_sizes(auc: float) -> None:
    few, many = (
        exact_auc_interval(auc, 0.0, n_positive=n, n_negative=3 * n, confidence=0.95) for n in (10, 100)
    )
    assert auc in few
    assert 0.005 < many[1] - many[0] < few[1] - few[0] < 0.3


@pytest.mark.parametrize("spread", [1.0, 2.0])
def test_of_few_positives_the_interval_holds_the_truth_where_delongs_alone_falls_short(
    spread: float,
) -> None:
    draw, auc, n, held = np.random.default_rng(8), 0.9, 200, {"alone": [], "drawn": []}
    apart = NormalDist().inv_cdf(auc) * (1 + spread**2) ** 0.5
    for _ in range(1500):
        positive = np.arange(n) < draw.binomial(n, 0.1)
        score = np.where(positive, apart, 0.0) + np.where(positive, spread, 1.0) * draw.normal(size=n)
        (found,), ((variance,),) = delong(score[None], positive)
        n_positive = int(positive.sum())
        intervals = {
            "alone": logit_interval(found, variance),
            "drawn": exact_auc_interval(
                found, variance, n_positive=n_positive, n_negative=n - n_positive
            ),
        }
        for name, (low, high) in intervals.items():
            held[name].append(low <= auc <= high)
    alone, drawn = (float(np.mean(each)) for each in held.values())
    assert alone < 0.93
    assert drawn >= (0.94 if spread == 1.0 else 0.92)
    assert drawn < 0.98


@pytest.mark.parametrize("row", [0, 1])
def test_bootstrap_equals_a_loop_over_the_same_replicates(row: int) -> None:
    scores, positive = tied_scores(4)
    n = positive.size
    found = bootstrap_auc(
        scores[row],
        positive,
        np.random.default_rng(1).permutation(n),
        replicates=40,
        generator=np.random.default_rng(2),
    )
    owner = np.random.default_rng(1).permutation(n)
    place = np.argsort(owner)
    generator = np.random.default_rng(2)
    draws = [place[generator.integers(0, n, size=n)] for _ in range(40)]
    loop = [roc_auc_score(positive[d], scores[row][d]) for d in draws]
    assert np.allclose(found, loop, atol=1e-12, rtol=0)


def test_bootstrap_draws_patients_with_all_their_exams() -> None:
    scores, positive = tied_scores(5, n=120)
    patient = np.repeat(np.arange(60), 2)
    found = bootstrap_auc(
        scores[1], positive, patient, replicates=30, generator=np.random.default_rng(3)
    )
    generator = np.random.default_rng(3)
    loop = []
    for _ in range(30):
        drawn = generator.integers(0, 60, size=60)
        exams = np.concatenate([[2 * p, 2 * p + 1] for p in drawn])
        loop.append(roc_auc_score(positive[exams], scores[1][exams]))
    assert np.allclose(found, loop, atol=1e-12, rtol=0)


def test_repeating_every_exam_narrows_delong_but_not_the_patient_bootstrap() -> None:
    scores, positive = tied_scores(6)
    twice, labels = np.repeat(scores[0], 2), np.repeat(positive, 2)
    patient = np.repeat(np.arange(positive.size), 2)
    true_sd = delong(scores[:1], positive)[1][0, 0] ** 0.5
    naive_sd = delong(twice[None], labels)[1][0, 0] ** 0.5
    drawn = bootstrap_auc(twice, labels, patient, replicates=800, generator=np.random.default_rng(4))
    assert naive_sd < 0.75 * true_sd
    assert drawn.std() == pytest.approx(true_sd, rel=0.12)


def test_a_replicate_of_one_class_is_nan() -> None:
    found = bootstrap_auc(
        np.array([0.1, 0.9]),
        np.array([False, True]),
        np.array([0, 1]),
        replicates=50,
        generator=np.random.default_rng(5),
    )
    assert set(found[~np.isnan(found)]) == {1.0}
    assert 10 < np.isnan(found).sum() < 40


@pytest.mark.parametrize("n_positive", [0, 1, 5, 6])
def test_a_variance_needs_two_of_each_class_and_an_auc_one(n_positive: int) -> None:
    score, is_positive = np.arange(6.0), np.arange(6) >= 6 - n_positive
    if n_positive in (0, 6):
        with pytest.raises(ProtocolError):
            measure_auc(score, is_positive)
    else:
        assert measure_auc(score, is_positive) == 1.0
    with pytest.raises(ProtocolError):
        delong(score[None], is_positive)
    assert delong(score[None], np.arange(6) >= 4)[0].tolist() == [1.0]
