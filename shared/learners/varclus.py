"""Columns scored by variable clustering (VARCLUS): the best of each cluster of columns is kept first.

The sum is the matrix of products: the upper triangle of v·vᵀ with v = (1, z), off the diagonal times
√2. Its norm is ‖v‖² = 1 + ‖z‖², at most 1 + R², which every patient attains whose columns z, about
their public centres in public SDs and scaled down to R, reach R. Clusters are read from the noised
correlations, which is post-processing. Where noise will be more than a tenth of a variance, clusters
would be those of the noise: nothing is then asked or paid for them, and columns are kept by their
public SDs. Whether so follows from public values alone, and a plan writes it down. Imports columns and
the lattice.

Source: SAS/STAT User's Guide, the VARCLUS procedure: split the cluster with the largest second
eigenvalue by its first two components, quartimax-rotated; a column goes to the cluster whose first
component explains most of it; a cluster's representative is explained best by its own.

Legend: n patients · f columns · c clusters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from shared.features.columns import Columns
from shared.learners.rows import Floats, all_finite, standardised
from shared.learners.task import TableTask
from shared.learners.univariate import ShareRow, share_at
from shared.strict import FROZEN
from shared.sums.lattice import bound_rows

Indices = NDArray[np.intp]
# Noise, as a share of a variance, beyond which clusters are those of the noise.
_LOUDEST = 0.1
_SMALLEST_VARIANCE = 1e-6
_PASSES = 50


class VarclusSettings(BaseModel):
    """Settings of variable clustering; f is the number of columns.

    Attributes:
        shares: rows by rising ``up_to_epsilon``; beyond the last columns are kept by public sizes.
        radius_per_column: R²/f, to which a patient's squared distance from the public centre is
            clipped.
        clusters: how many at most.
        noise: what noise is expected to be of a column's variance, from public values; beyond .1
            columns are kept by public sizes and the share is 0. null: a plan writes it down.
    """

    model_config = FROZEN

    kind: Literal["varclus"]
    shares: tuple[ShareRow, ...] = Field(min_length=1)
    radius_per_column: float = Field(default=0.5, gt=0, le=100)
    clusters: int = Field(default=10, ge=1, le=1000)
    noise: float | None = Field(default=None, ge=0)

    @property
    def is_loud(self) -> bool:
        """Whether clusters would be those of the noise."""
        return self.noise is not None and self.noise > _LOUDEST

    def share_at(self, epsilon: float | None) -> float:
        """What the choice takes of the budget; 0 where it would find the clusters of noise."""
        return 0.0 if self.is_loud else share_at(self.shares, epsilon)

    def with_noise(
        self, n_columns: int, *, epsilon: float | None, mu: float | None, training: Sequence[int]
    ) -> VarclusSettings:
        """The settings with the noise that a plan will have; what stands there already stays.

        Args:
            n_columns: f.
            epsilon: the stage's; None: without privacy.
            mu: of the whole stage, as ``gaussian_mu``; None: without privacy.
            training: patients that each training site declares; each adds its own noise.
        """
        share = share_at(self.shares, epsilon)
        if self.noise is not None or mu is None or not share:
            return self.model_copy(update={"noise": self.noise or 0.0})
        squared_radius = self.radius_per_column * n_columns
        sd = (1.0 + squared_radius) / (mu * math.sqrt(share)) * math.sqrt(len(training))
        # A column's variance is 1 in public SDs, less what clipping to R takes of all columns alike.
        variance = min(1.0, self.radius_per_column)
        noise = sd / math.sqrt(2.0) / sum(training) / variance
        return self.model_copy(update={"noise": noise})


@dataclass(frozen=True)
class Varclus:
    """Scores [f] from one matrix: of a cluster's best 1 + r², of others r² with their own cluster."""

    task: TableTask
    settings: VarclusSettings

    @classmethod
    def build(cls, settings: VarclusSettings, task: TableTask) -> Varclus:
        """The scores of a task; its target plays no part."""
        return cls(task, settings)

    @property
    def length(self) -> int:
        """(f + 1)(f + 2)/2."""
        f = len(self.task.columns)
        return (f + 1) * (f + 2) // 2

    @property
    def bound(self) -> float:
        """1 + R²."""
        return 1.0 + self._radius**2

    def rows(self, patients: Columns) -> Floats:
        """The triangle of (1, z)(1, z)ᵀ."""
        z = standardised(patients.columns, self.task.columns)
        usable = all_finite(z)[:, None]
        z = bound_rows(z, bound=self._radius)
        v = np.hstack([usable.astype(np.float64), np.where(usable, z, 0.0)])
        first, second, scale = self._triangle
        products: Floats = np.take(v, first, axis=1) * np.take(v, second, axis=1) * scale
        return products

    def scores(self, total: Floats, *, sd: float, n_declared: float) -> Floats:
        """Representatives of the clusters first."""
        f = len(self.task.columns)
        first, second, scale = self._triangle
        matrix = np.zeros((f + 1, f + 1))
        matrix[first, second] = total / scale
        matrix[second, first] = matrix[first, second]
        # The declared number stands in where noise leaves too little of the count.
        n = min(max(matrix[0, 0], n_declared / 2), n_declared * 2) if sd else max(matrix[0, 0], 1.0)
        mean = matrix[0, 1:] / n
        covariance = matrix[1:, 1:] / n - np.outer(mean, mean)
        return cluster_scores(correlations(covariance), max_clusters=self.settings.clusters)

    def unasked(self, keep: int) -> Indices:
        """Places of the columns of the largest public SDs, by falling SD."""
        spread = np.array([column.spread for column in self.task.columns])
        return np.argsort(-spread, kind="stable")[:keep]

    @property
    def _radius(self) -> float:
        return math.sqrt(self.settings.radius_per_column * len(self.task.columns))

    @cached_property
    def _triangle(self) -> tuple[Indices, Indices, Floats]:
        """Row, column and factor of each cell of the matrix's upper triangle, the constant first."""
        first, second = np.triu_indices(len(self.task.columns) + 1)
        return first, second, np.where(first == second, 1.0, math.sqrt(2.0))


def correlations(covariance: Floats) -> Floats:
    """Of the nearest covariance [f,f] that has no negative eigenvalue; 0 where there is no variance."""
    values, vectors = np.linalg.eigh(covariance)
    nearest = (vectors * np.maximum(values, 0.0)) @ vectors.T
    variance = np.diag(nearest)
    sd = np.sqrt(np.maximum(variance, _SMALLEST_VARIANCE))
    found: Floats = nearest / np.outer(sd, sd)
    np.fill_diagonal(found, 1.0)
    return found


def cluster_columns(
    correlation: Floats, *, max_clusters: int, second_eigenvalue: float = 1.0
) -> tuple[tuple[int, ...], ...]:
    """Clusters of columns, by places in rising order.

    Args:
        correlation: [f,f].
        max_clusters: no cluster is split once there are so many.
        second_eigenvalue: no cluster is split whose second eigenvalue is at most this.
    """
    clusters = [np.arange(len(correlation))]
    while len(clusters) < max_clusters:
        seconds = [_eigen(correlation, each)[0][1] if len(each) > 1 else 0.0 for each in clusters]
        place = int(np.argmax(seconds))
        if seconds[place] <= second_eigenvalue:
            break
        clusters[place : place + 1] = _halves(correlation, clusters[place])
        clusters = _reassigned(correlation, clusters)
    return tuple(tuple(sorted(each.tolist())) for each in clusters)


def explained(correlation: Floats, clusters: Sequence[Sequence[int]]) -> Floats:
    """r² of each column with each cluster's first component, [f,c]."""
    found = []
    for each in clusters:
        members = np.asarray(each, dtype=np.intp)
        values, vectors = _eigen(correlation, members)
        found.append(
            (correlation[:, members] @ vectors[:, 0]) ** 2 / max(values[0], _SMALLEST_VARIANCE)
        )
    return np.stack(found, axis=1)


def cluster_scores(correlation: Floats, *, max_clusters: int) -> Floats:
    """r² of each column with its own cluster [f], and 1 more for the best of each cluster."""
    clusters = cluster_columns(correlation, max_clusters=max_clusters)
    squared, scores = explained(correlation, clusters), np.zeros(len(correlation))
    for place, each in enumerate(clusters):
        own = squared[list(each), place]
        scores[list(each)] = np.minimum(own, 1.0)
        scores[each[int(np.argmax(own))]] += 1.0
    return scores


def _eigen(correlation: Floats, members: Indices) -> tuple[Floats, Floats]:
    """Eigenvalues of the members' correlations by falling size, and their vectors."""
    values, vectors = np.linalg.eigh(correlation[np.ix_(members, members)])
    return values[::-1], vectors[:, ::-1]


def _halves(correlation: Floats, members: Indices) -> list[Indices]:
    """Two clusters of the members: by which of two rotated components is more theirs."""
    values, vectors = _eigen(correlation, members)
    loadings = vectors[:, :2] * np.sqrt(np.maximum(values[:2], 0.0))  # [members, 2]
    # Quartimax of two factors in closed form: Neuhaus and Wrigley 1954 (Br J Stat Psychol 7:81).
    u, v = loadings[:, 0] ** 2 - loadings[:, 1] ** 2, 2.0 * loadings[:, 0] * loadings[:, 1]
    angle = math.atan2(2.0 * float(u @ v), float(u @ u - v @ v)) / 4.0
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    turned = (loadings @ turn) ** 2
    is_first = turned[:, 0] >= turned[:, 1]
    if is_first.all() or not is_first.any():
        is_first = np.arange(len(members)) != int(np.argmin(loadings[:, 0] ** 2))
    return [members[is_first], members[~is_first]]


def _reassigned(correlation: Floats, clusters: list[Indices]) -> list[Indices]:
    """Each column in the cluster that explains most of it, until none moves or one would be empty."""
    for _ in range(_PASSES):
        nearest = explained(correlation, [each.tolist() for each in clusters]).argmax(axis=1)
        moved = [np.flatnonzero(nearest == place) for place in range(len(clusters))]
        if not all(len(each) for each in moved):
            break
        if all(np.array_equal(a, np.sort(b)) for a, b in zip(moved, clusters, strict=True)):
            break
        clusters = moved
    return clusters
