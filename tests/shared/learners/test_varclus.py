"""Clusters of Harman's eight physical measurements as SAS prints them, and noise that is foreseen."""

from __future__ import annotations

import re

import numpy as np
import pytest
import yaml
from practice_tables import number_columns

from shared.features.columns import Column, Columns
from shared.learners.table import read_learner
from shared.learners.task import TableTask
from shared.learners.univariate import ShareRow
from shared.learners.varclus import (
    Varclus,
    VarclusSettings,
    cluster_columns,
    cluster_scores,
    correlations,
    explained,
)
from shared.machine.files import PROJECT
from shared.privacy.accountant import gaussian_mu

CONFIGS = PROJECT / "configs" / "learner"
# Harman 1976, Modern Factor Analysis, table 2.3: 305 girls; height, arm span, forearm, lower leg,
# weight, bitrochanteric diameter, chest girth, chest width.
_BELOW = [
    [],
    [0.846],
    [0.805, 0.881],
    [0.859, 0.826, 0.801],
    [0.473, 0.376, 0.380, 0.436],
    [0.398, 0.326, 0.319, 0.329, 0.762],
    [0.301, 0.277, 0.237, 0.327, 0.730, 0.583],
    [0.382, 0.415, 0.345, 0.365, 0.629, 0.577, 0.539],
]
HARMAN = np.eye(8)
for _row, _values in enumerate(_BELOW):
    HARMAN[_row, : len(_values)] = HARMAN[: len(_values), _row] = _values


def share_explained(clusters: tuple[tuple[int, ...], ...]) -> float:
    squared = explained(HARMAN, clusters)
    return sum(squared[list(each), place].sum() for place, each in enumerate(clusters)) / 8


def test_physical_measurements_fall_into_lengths_and_widths_as_sas_prints() -> None:
    # SAS/STAT User's Guide, PROC VARCLUS, "Correlations among Physical Variables": 58.41 %, 80.33 %
    assert share_explained(((0, 1, 2, 3, 4, 5, 6, 7),)) == pytest.approx(0.5841, abs=5e-5)
    found = cluster_columns(HARMAN, max_clusters=8)
    assert set(found) == {(0, 1, 2, 3), (4, 5, 6, 7)}
    assert share_explained(found) == pytest.approx(0.8033, abs=5e-5)


def test_no_cluster_is_split_beyond_what_was_asked_for() -> None:
    assert len(cluster_columns(HARMAN, max_clusters=1)) == 1
    assert len(cluster_columns(HARMAN, max_clusters=3, second_eigenvalue=0.0)) == 3


def test_the_best_of_each_cluster_scores_above_all_others() -> None:
    scores = cluster_scores(HARMAN, max_clusters=2)
    assert sorted(np.argsort(-scores)[:2].tolist()) == [1, 4], "arm span and weight"
    assert (np.sort(scores)[:-2] <= 1.0).all()


def asked(f: int, *, columns: tuple[Column, ...] = ()) -> Varclus:
    shares = (ShareRow(up_to_epsilon=50, share=0.25),)
    settings = VarclusSettings(kind="varclus", shares=shares, radius_per_column=100.0, clusters=3)
    return Varclus.build(settings, TableTask(columns=columns or number_columns(f), n_classes=2))


def in_clusters(n: int) -> Columns:
    """Nine columns, three of each of three hidden ones, about a mean of their own."""
    draw = np.random.default_rng(0)
    hidden = np.repeat(draw.normal(size=(n, 3)), 3, axis=1)
    return Columns(hidden + 0.5 * draw.normal(size=(n, 9)) + 0.4, np.zeros(n))


def test_without_noise_correlations_are_those_of_all_patients_pooled() -> None:
    patients, varclus = in_clusters(300), asked(9)
    total = varclus.rows(patients).sum(axis=0)
    expected = cluster_scores(np.corrcoef(patients.columns.T), max_clusters=3)
    np.testing.assert_allclose(varclus.scores(total, sd=0.0, n_declared=300), expected, atol=1e-10)
    best = set((np.argsort(-expected)[:3] // 3).tolist())
    assert best == {0, 1, 2}, "one of each cluster"


def test_where_no_sum_is_asked_columns_are_kept_by_their_public_spread() -> None:
    columns = tuple(number_columns(1, spread=spread)[0] for spread in (0.5, 2.0, 1.0, 2.0))
    assert asked(4, columns=columns).unasked(3).tolist() == [1, 3, 2]


def test_the_noise_of_a_plan_is_that_of_a_correlation_in_its_runs() -> None:
    # three sites of 262, 70 columns, ε 8 at δ 1e-5: both sides are in a column's variance
    f, training, mu = 70, (262,) * 3, gaussian_mu(8.0, 1e-5)
    settings = VarclusSettings(kind="varclus", shares=(ShareRow(up_to_epsilon=50, share=0.25),))
    varclus = Varclus.build(settings, TableTask(columns=number_columns(f), n_classes=2))
    patients = Columns(
        np.random.default_rng(5).normal(size=(sum(training), f)), np.zeros(sum(training))
    )
    exact = varclus.rows(patients).sum(axis=0)
    sd = varclus.bound / (mu * 0.25**0.5) * len(training) ** 0.5
    draw = np.random.default_rng(6)
    # the cell of the first two columns, whose factor is √2
    cell = int(np.flatnonzero((varclus._triangle[0] == 1) & (varclus._triangle[1] == 2))[0])
    drawn = [(exact + sd * draw.normal(size=exact.size))[cell] / 2**0.5 for _ in range(2000)]
    variance = exact[f + 1] / sum(training)  # of the first column, about its public centre
    found = settings.with_noise(f, epsilon=8.0, mu=mu, training=training).noise
    assert found == pytest.approx(np.std(drawn) / sum(training) / variance, rel=0.15)


def test_the_how_to_says_from_how_many_patients_clusters_are_asked() -> None:
    page = (PROJECT / "docs" / "how-to" / "own-features.md").read_text()
    rows = re.findall(r"^\| (\d+) \| ([\d,]+) \| ([\d,]+) \|$", page, re.MULTILINE)
    settings = read_learner(yaml.safe_load((CONFIGS / "clusters_mlp.yaml").read_text())).by
    assert [float(epsilon) for epsilon, *_ in rows] == [1.0, 3.0, 8.0]
    for epsilon, patients, product in rows:
        n, of = int(patients.replace(",", "")), float(epsilon)
        assert int(product.replace(",", "")) == n * of

        def noise(n: int, of: float = of) -> float | None:
            mu = gaussian_mu(of, 1e-5)
            return settings.with_noise(70, epsilon=of, mu=mu, training=(n / 3,) * 3).noise

        assert noise(n) <= 0.1 < noise(n - 11)


def test_noise_falls_with_patients_and_nothing_is_foreseen_without_privacy() -> None:
    settings = VarclusSettings(kind="varclus", shares=(ShareRow(up_to_epsilon=8, share=0.25),))

    def noise(epsilon: float | None, *training: int) -> float | None:
        mu = None if epsilon is None else gaussian_mu(epsilon, 1e-5)
        return settings.with_noise(70, epsilon=epsilon, mu=mu, training=training).noise

    assert noise(3.0, 1000) == pytest.approx(2 * noise(3.0, 2000))
    assert noise(3.0, 500, 500) == pytest.approx(2**0.5 * noise(3.0, 1000))
    assert noise(None, 1000) == 0.0
    assert noise(50.0, 1000) == 0.0, "no row reaches this ε: no sum is asked"
    assert settings.model_copy(update={"noise": 0.2}).share_at(3.0) == 0.0
    assert settings.model_copy(update={"noise": 0.1}).share_at(3.0) == 0.25
    assert settings.model_copy(update={"noise": 0.2}).share_at(50.0) == 0.0


def test_a_noised_covariance_becomes_one_that_a_table_can_have() -> None:
    found = correlations(np.array([[1.0, 2.0], [2.0, 1.0]]))
    assert np.linalg.eigvalsh(found).min() > -1e-12
    assert found[0, 1] == pytest.approx(1.0)
