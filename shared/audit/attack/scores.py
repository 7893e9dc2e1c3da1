"""How strongly a release says of a patient "was in training": LiRA and RMIA, as arithmetic on signals.

A signal is one number per patient, higher = fitted better. Legend: r references · n patients.

Source: LiRA, Carlini et al. 2022 (arXiv 2112.03570); RMIA, Zarifzadeh, Liu, Shokri 2024
(arXiv 2312.03262).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def lira_scores(target: Floats, references: Floats, was_in: Bools) -> Floats:
    """Log likelihood ratio of the target's signal, Gaussians fitted to references with and without.

    Each patient has two means, all share two variances: better than a patient's own for fewer than 64
    references (Carlini et al. 2022, section VI-A).

    Shapes: target [n], references [r,n], was_in [r,n] -> [n].
    """
    mean_in, variance_in = _fit_gaussians(references, was_in)
    mean_out, variance_out = _fit_gaussians(references, ~was_in)
    ratio: Floats = (target - mean_out) ** 2 / variance_out - (target - mean_in) ** 2 / variance_in
    return 0.5 * (ratio + math.log(variance_out / variance_in))


def lira_offline_scores(target: Floats, references: Floats, was_in: Bools) -> Floats:
    """How far the target's signal lies above that of references without the patient, in their SD.

    Shapes: target [n], references [r,n], was_in [r,n] -> [n].
    """
    mean_out, variance_out = _fit_gaussians(references, ~was_in)
    scores: Floats = (target - mean_out) / math.sqrt(variance_out)
    return scores


def rmia_scores(target: Floats, references: Floats, was_in: Bools) -> Floats:
    """Share of the other patients z that x beats: p(x|target)/p(x) ≥ p(z|target)/p(z), so γ = 1.

    p(x) is the mean likelihood over references, those with x and those without counting half each.

    Shapes: target [n] log likelihoods, references [r,n], was_in [r,n] -> [n].
    """
    sides = [
        logsumexp(np.where(side, references, -np.inf), axis=0) - np.log(side.sum(axis=0))
        for side in (was_in, ~was_in)
    ]
    ratio = target - (np.logaddexp(*sides) - math.log(2))
    beaten = np.searchsorted(np.sort(ratio), ratio, side="right") - 1  # without x itself
    share: Floats = beaten / (ratio.size - 1)
    return share


def _fit_gaussians(references: Floats, chosen: Bools) -> tuple[Floats, float]:
    """Mean of each patient's chosen signals [n], and the variance around them that all share."""
    counts = chosen.sum(axis=0)
    means = np.where(chosen, references, 0.0).sum(axis=0) / counts
    squares = np.where(chosen, (references - means) ** 2, 0.0).sum()
    return means, max(float(squares / (counts - 1).sum()), 1e-12)
