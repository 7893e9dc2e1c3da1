"""What is read from noised second moments: ridge, LASSO, linear discriminants, components.

All of it is post-processing of one matrix, whose noise is known: a penalty below the noise would fit
the noise. A matrix that noise made indefinite is first brought back to the nearest one that a table can
have. Imports nothing of the project.

Legend: f columns · o targets · d = f + o · c components.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# A class never counts as a smaller share than this, however much noise its count has.
_SMALLEST_SHARE = 0.01
_SWEEPS, _SETTLED = 1000, 1e-12


@dataclass(frozen=True, kw_only=True)
class Moments:
    """Sums of products about the mean, with noise.

    Attributes:
        n: patients.
        mean: [d], columns, then targets.
        scatter: [d,d], Σ (z − mean)(z − mean)ᵀ.
        n_columns: f.
        column_sd: SD of the noise of a product of two columns.
        target_sd: SD of the noise of a product of a column and a target.
    """

    n: float
    mean: Floats
    scatter: Floats
    n_columns: int
    column_sd: float
    target_sd: float

    @property
    def columns(self) -> Floats:
        """[f,f], the nearest matrix without a negative eigenvalue."""
        values, vectors = np.linalg.eigh(self.scatter[: self.n_columns, : self.n_columns])
        nearest: Floats = (vectors * np.maximum(values, 0.0)) @ vectors.T
        return nearest

    @property
    def with_targets(self) -> Floats:
        """[f,o]."""
        return self.scatter[: self.n_columns, self.n_columns :]

    @property
    def noise_norm(self) -> float:
        """Largest eigenvalue that the columns' noise alone is expected to have.

        Source: Wigner 1958 (Ann Math 67:325): 2·SD·√f of a symmetric matrix.
        """
        return 2.0 * self.column_sd * math.sqrt(self.n_columns)


@dataclass(frozen=True)
class Linear:
    """offset [o] and weights [f,o]: output = offset + columns · weights."""

    offset: Floats
    weights: Floats


def ridge(moments: Moments, *, penalty: float) -> Linear:
    """Least squares with ``penalty``·‖w‖², of every target."""
    f = moments.n_columns
    penalised = moments.columns + penalty * np.eye(f)
    return _through_mean(moments, np.asarray(np.linalg.solve(penalised, moments.with_targets), float))


def lasso_path(moments: Moments, penalties: Sequence[float], *, ridge_penalty: float = 0.0) -> Floats:
    """Weights of the first target at each penalty [len(penalties), f].

    Each minimises ½ wᵀAw − bᵀw + penalty·‖w‖₁ + ½ ridge_penalty·‖w‖², by coordinate descent on the
    matrix, from the solution before.

    Source: Friedman, Hastie, Tibshirani 2010 (J Stat Softw 33:1), section 2.2, covariance updates.
    """
    scatter = moments.columns + ridge_penalty * np.eye(moments.n_columns)
    goal = moments.with_targets[:, 0]
    weights = np.zeros(moments.n_columns)
    path = []
    for penalty in penalties:
        weights = _descend(scatter, goal, penalty, weights)
        path.append(weights)
    return np.array(path)


def _descend(scatter: Floats, goal: Floats, penalty: float, weights: Floats) -> Floats:
    weights = weights.copy()
    for _ in range(_SWEEPS):
        moved = 0.0
        for column in range(len(weights)):
            own = scatter[column, column]
            if own <= 0.0:
                continue
            pull = goal[column] - scatter[column] @ weights + own * weights[column]
            new = math.copysign(max(abs(pull) - penalty, 0.0), pull) / own
            moved = max(moved, abs(new - weights[column]))
            weights[column] = new
        if moved <= _SETTLED:
            break
    return weights


def lasso(moments: Moments, *, penalty: float, ridge_penalty: float) -> Linear:
    """The LASSO of the first target at one penalty."""
    weights = lasso_path(moments, [penalty], ridge_penalty=ridge_penalty)[0]
    return _through_mean(moments, weights[:, None])


def noise_penalty(moments: Moments, *, multiple: float) -> float:
    """The LASSO penalty that noise alone does not pass: multiple·SD·√(2 ln f).

    SD is of one product's noise, and of its sampling for a column and an error of 1 public SD each.

    Source: Donoho and Johnstone 1994 (Biometrika 81:425), the universal threshold.
    """
    sd = math.hypot(moments.target_sd, math.sqrt(moments.n))
    return multiple * sd * math.sqrt(2.0 * math.log(max(moments.n_columns, 2)))


def discriminants(moments: Moments, *, penalty: float) -> Linear:
    """Linear discriminants of classes, whose targets are one-hot: softmax of the outputs is P(class).

    The scatter within classes gets ``penalty`` on its diagonal. What noise adds to the length of a
    class's mean is taken off again.

    Source: Hastie, Tibshirani, Friedman 2009, eq. 4.10.
    """
    f = moments.n_columns
    shares = np.maximum(moments.mean[f:], _SMALLEST_SHARE)
    shares = shares / shares.sum()
    counts = moments.n * shares  # [o]
    apart = moments.with_targets / counts  # class means about the common one, [f,o]
    within = moments.scatter[:f, :f] - (counts * apart) @ apart.T
    values, vectors = np.linalg.eigh(within)
    values = np.maximum(values, 0.0) + penalty
    weights = moments.n * (vectors / values) @ (vectors.T @ apart)
    noise = moments.n * (1.0 / values).sum() * (moments.target_sd / counts) ** 2  # [o]
    lengths = (apart * weights).sum(axis=0) - noise
    offset = np.log(shares) - 0.5 * lengths - moments.mean[:f] @ weights
    return Linear(offset, weights)


def components(moments: Moments, *, n_components: int) -> Linear:
    """Principal components of the columns, by falling variance, largest weight of each positive."""
    _, vectors = np.linalg.eigh(moments.columns)
    basis = vectors[:, ::-1][:, :n_components]  # [f,c]
    largest = np.abs(basis).argmax(axis=0)
    basis = basis * np.sign(basis[largest, np.arange(basis.shape[1])])
    return Linear(-moments.mean[: moments.n_columns] @ basis, basis)


def _through_mean(moments: Moments, weights: Floats) -> Linear:
    """The line of these weights [f,o] that passes through the means."""
    f = moments.n_columns
    return Linear(moments.mean[f:][: weights.shape[1]] - moments.mean[:f] @ weights, weights)
