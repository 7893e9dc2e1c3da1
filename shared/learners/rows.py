"""What rows of learners are made of: columns within their public range, classes, weighted sums.

Everything goes by element or along one row, never by a matrix product over patients, whose rounding
could depend on the company. Imports columns and the lattice.

Legend: n patients · f columns · o outputs · q classes · m cells.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from shared.features.columns import Column, clip_columns

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def standardised(values: Floats, columns: Sequence[Column]) -> Floats:
    """Columns [n,f] within their public range, about their public centres, in public SDs."""
    centre = np.array([column.centre for column in columns])
    spread = np.array([column.spread for column in columns])
    standard: Floats = (clip_columns(values, columns) - centre) / spread
    return standard


def one_hot(target: Floats, n_classes: int) -> Floats:
    """Class indices [n] as [n,q]; a row of NaN where the target is no class."""
    is_it: Bools = target[:, None] == np.arange(n_classes)
    is_any = np.logical_or.reduce(is_it, axis=1, keepdims=True)
    hot: Floats = np.where(is_any, is_it.astype(np.float64), np.nan)
    return hot


def by_class(shown: Floats, hot: Floats, *, is_usable: Bools) -> Floats:
    """What a patient shows [n,m], in the cells of the patient's class, [n,q·m]; zeros if not usable.

    Shapes: shown [n,m], hot [n,q] as from ``one_hot``, is_usable [n].
    """
    usable = (is_usable & np.isfinite(hot[:, 0]))[:, None]
    shown, hot = np.where(usable, shown, 0.0), np.where(usable, hot, 0.0)
    cells: Floats = (hot[:, :, None] * shown[:, None, :]).reshape(len(hot), -1)
    return cells


def weighted_sums(values: Floats, weights: Floats) -> Floats:
    """values [n,f] times weights [f,o], added in the columns' order for every patient alike: [n,o]."""
    total = np.zeros((len(values), weights.shape[1]))
    with np.errstate(over="ignore", invalid="ignore"):
        for column, weight in enumerate(weights):
            total += values[:, column, None] * weight
    return total


def softmax(scores: Floats) -> Floats:
    """Scores [n,o] as probabilities."""
    raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares: Floats = raised / raised.sum(axis=1, keepdims=True)
    return shares


def all_finite(values: Floats) -> Bools:
    """Which rows of [n,m] hold finite numbers only, [n]."""
    finite: Bools = np.logical_and.reduce(np.isfinite(values), axis=1)
    return finite


def kept_of(apart: Floats, noise_sd: Floats) -> Floats:
    """Share [q,1] of each class's distances [q,f] that is not noise of SD ``noise_sd`` [q].

    Source: James and Stein 1961, positive part.
    """
    length = (apart**2).sum(axis=1)
    noise = max(apart.shape[1] - 2, 1) * noise_sd**2
    kept: Floats = np.where(length > 0, np.maximum(1.0 - noise / np.maximum(length, 1e-300), 0.0), 0.0)
    return kept[:, None]
