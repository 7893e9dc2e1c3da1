"""Clusters of Harman's eight physical measurements as SAS prints them, and where noise is too loud."""

from __future__ import annotations

import numpy as np
import pytest
from practice_tables import number_columns

from shared.errors import SettingsError
from shared.features.columns import Column, Columns
from shared.learners.task import TableTask
from shared.learners.univariate import ShareRow
from shared.learners.varclus import (
    PublicColumn,
    Varclus,
    VarclusSettings,
    cluster_columns,
    cluster_scores,
    correlations,
    explained,
)

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


def test_where_noise_is_loud_columns_are_kept_by_their_public_spread_and_no_score_is_above_0() -> None:
    columns = tuple(number_columns(1, spread=spread)[0] for spread in (0.5, 2.0, 1.0))
    varclus, patients = asked(3, columns=columns), in_clusters(300).select(range(300))
    patients = Columns(patients.columns[:, :3], patients.target)
    total = varclus.rows(patients).sum(axis=0)
    loud = varclus.scores(total, sd=1e4, n_declared=300)
    assert loud.tolist() == [-2.0, 0.0, -1.0]
    assert varclus.scores(total, sd=0.1, n_declared=300).max() > 1.0


def test_a_noised_covariance_becomes_one_that_a_table_can_have() -> None:
    found = correlations(np.array([[1.0, 2.0], [2.0, 1.0]]))
    assert np.linalg.eigvalsh(found).min() > -1e-12
    assert found[0, 1] == pytest.approx(1.0)


PUBLIC = (("x0", 1, 0.9), ("x1", 2, 0.6), ("x2", 1, 0.95))


def with_public(**changes: object) -> Varclus:
    varclus = asked(3)
    public = [PublicColumn(column=n, cluster=c, explained=r) for n, c, r in PUBLIC]
    settings = varclus.settings.model_copy(update={"public": tuple(public), **changes})
    return Varclus.build(settings, varclus.task)


def test_of_each_public_cluster_the_best_explained_column_scores_above_all_others() -> None:
    assert asked(3).known is None
    known = with_public().known
    assert known is not None
    assert known.tolist() == pytest.approx([0.9, 1.6, 1.95])


def test_where_noise_is_loud_public_clusters_choose_and_no_score_is_above_0() -> None:
    varclus, patients = with_public(), in_clusters(300)
    total = varclus.rows(Columns(patients.columns[:, :3], patients.target)).sum(axis=0)
    loud = varclus.scores(total, sd=1e4, n_declared=300)
    assert loud.tolist() == pytest.approx([-1.1, -0.4, -0.05])
    quiet = varclus.scores(total, sd=0.0, n_declared=300)
    assert quiet.max() > 1.0
    assert not np.allclose(quiet, varclus.known), "these are the patients' own clusters"


def test_public_clusters_of_other_columns_are_refused() -> None:
    other = PublicColumn(column="y9", cluster=1, explained=0.5)
    for public in ((other,), (*with_public().settings.public[:2], other)):
        with pytest.raises(SettingsError, match="each of the 3 columns") as error:
            with_public(public=public)
        assert error.value.code == "settings.other-clusters"


def test_settings_without_public_clusters_are_written_as_before() -> None:
    assert "public" not in asked(3).settings.model_dump()
    assert len(with_public().settings.model_dump()["public"]) == 3
