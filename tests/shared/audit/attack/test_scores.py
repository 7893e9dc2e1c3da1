"""Scores of the attacks on a few signals, by hand."""

from __future__ import annotations

import math

import numpy as np

from shared.audit.attack.scores import lira_offline_scores, lira_scores, rmia_scores

TARGET = np.array([2.0, 0.5])
REFERENCES = np.array([[3.0, 0.0], [1.0, 2.0], [0.0, 1.0], [-2.0, 1.0]])
WAS_IN = np.array([[True, False], [True, False], [False, True], [False, True]])


def test_lira_is_the_log_ratio_of_two_gaussians_with_shared_variances() -> None:
    # patient 1: in mean 2, out mean −1; patient 2: in mean 1, out mean 1
    # in: squares 1, 1, 0, 0 with 2 degrees of freedom; out: 1, 1, 1, 1
    variance_in, variance_out = 1.0, 2.0
    expected = [
        (9 / variance_out - 0 / variance_in + math.log(2)) / 2,
        (0.25 / variance_out - 0.25 / variance_in + math.log(2)) / 2,
    ]
    np.testing.assert_allclose(lira_scores(TARGET, REFERENCES, WAS_IN), expected)


def test_offline_lira_looks_only_at_references_without_the_patient() -> None:
    expected = [3 / math.sqrt(2), -0.5 / math.sqrt(2)]
    np.testing.assert_allclose(lira_offline_scores(TARGET, REFERENCES, WAS_IN), expected)
    others = np.where(WAS_IN, 100.0, REFERENCES)
    np.testing.assert_allclose(lira_offline_scores(TARGET, others, WAS_IN), expected)


def test_rmia_is_the_share_of_patients_with_a_smaller_likelihood_ratio() -> None:
    likelihoods = np.array([[0.2, 0.4, 0.1], [0.4, 0.2, 0.1], [0.6, 0.3, 0.3], [0.2, 0.3, 0.3]])
    was_in = np.array([[True, False, True], [True, True, False], [False, True, False], [False] * 3])
    # p(x): (mean in + mean out)/2 = (.3 + .4)/2, (.25 + .35)/2, (.1 + .7/3)/2
    target = np.array([0.35, 0.6, 0.1])  # ratios 1, 2, 0.6
    np.testing.assert_allclose(rmia_scores(np.log(target), np.log(likelihoods), was_in), [0.5, 1, 0])
