"""How updates become new weights: FedAvg, FedProx, FedAdam, median, trimmed mean.

Every rule sees one block of coordinates of all present updates at a time, [s, block], so that server
memory is flat in sites: updates are memory maps of the journal. Sums are float64, in roster order,
hence equal bit for bit when a round is repeated. Aggregation weights are plan constants, renormalised
over the sites present; they never come from a cohort's size. Imports settings only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from shared.contract.protocol import Vector
from shared.contract.stages import StrategySettings
from shared.errors import RunError

Block = np.ndarray[tuple[int], np.dtype[np.float64]]
Rule = Callable[[Sequence[Vector], Sequence[float]], Block]
BLOCK = 1 << 16  # float64 accumulator and products of one block stay in the processor's cache


def renormalised(weights: Sequence[float]) -> tuple[float, ...]:
    """Plan weights of the sites present, scaled to sum to 1.

    Raises:
        RunError: no site present has a weight.
    """
    total = sum(weights)
    if not total > 0:
        raise RunError(
            "no-weight",
            "the sites present have no aggregation weight",
            hint="give each training site of the roster a weight above 0",
        )
    return tuple(weight / total for weight in weights)


def next_weights(
    weights: Vector,
    updates: Sequence[Vector],
    *,
    shares: Sequence[float],
    memory: Mapping[str, Block],
    strategy: StrategySettings,
) -> tuple[Vector, dict[str, Block]]:
    """Weights after a round, and the rule's own vectors.

    Args:
        updates: one [p] per site present, in roster order.
        shares: their renormalised aggregation weights; robust rules ignore them by design.
        memory: what this function returned in the round before, empty in the first.

    Shapes: ``weights`` [p] float32 in and out.
    """
    rule = _rule(strategy)
    result = np.empty_like(weights)
    kept = _fresh_memory(weights.size, strategy)
    for name, vector in memory.items():
        kept[name][:] = vector
    for start in range(0, weights.size, BLOCK):
        part = slice(start, start + BLOCK)
        step = rule([update[part] for update in updates], shares)  # [n]
        if strategy.name == "fedadam":
            step = _adam_step(step, kept["first"][part], kept["second"][part], strategy)
        result[part] = weights[part] + strategy.server_learning_rate * step
    return result, kept


def tail_average(vectors: Sequence[Vector]) -> Vector:
    """Mean of the last rounds' weights, each [p], summed in float64 in round order.

    Source: Polyak & Juditsky 1992, SIAM J. Control Optim. 30:838; post-processing, so free under DP.
    """
    mean = np.empty_like(vectors[0])
    shares = [1.0 / len(vectors)] * len(vectors)
    for start in range(0, mean.size, BLOCK):
        part = slice(start, start + BLOCK)
        mean[part] = weighted_mean([vector[part] for vector in vectors], shares)
    return mean


def weighted_mean(updates: Sequence[Vector], shares: Sequence[float]) -> Block:
    """Σ share·update. Source: McMahan et al. 2017, arXiv 1602.05629, Algorithm 1."""
    total = np.zeros(updates[0].size)
    product = np.empty_like(total)
    for update, share in zip(updates, shares, strict=True):
        total += np.multiply(update, share, out=product)
    return total


def median(updates: Sequence[Vector], _shares: Sequence[float]) -> Block:
    """Coordinate-wise median, sites alike. Source: Yin et al. 2018, arXiv 1803.01498, Algorithm 1."""
    middle: Block = np.median(np.stack(updates).astype(np.float64), axis=0)
    return middle


def trimmed_mean(updates: Sequence[Vector], _shares: Sequence[float], *, fraction: float) -> Block:
    """Coordinate-wise mean without the ⌊fraction·s⌋ lowest and highest. Source: Yin et al. 2018."""
    ordered = np.sort(np.stack(updates).astype(np.float64), axis=0)  # [s, n]
    trimmed = int(fraction * len(updates))
    mean: Block = ordered[trimmed : len(updates) - trimmed].mean(axis=0)
    return mean


def _rule(strategy: StrategySettings) -> Rule:
    if strategy.name == "median":
        return median
    if strategy.name == "trimmed_mean":
        return partial(trimmed_mean, fraction=strategy.trimmed_fraction)
    return weighted_mean


def _fresh_memory(n_parameters: int, strategy: StrategySettings) -> dict[str, Block]:
    if strategy.name != "fedadam":
        return {}
    second = np.full(n_parameters, strategy.adam_tau**2)
    return {"first": np.zeros(n_parameters), "second": second}


def _adam_step(step: Block, first: Block, second: Block, strategy: StrategySettings) -> Block:
    """FedAdam's step; updates both moments in place.

    Source: Reddi et al. 2021, arXiv 2003.00295, Algorithm 2, with v₋₁ = τ² and no bias correction.
    """
    first *= strategy.adam_beta1
    first += (1 - strategy.adam_beta1) * step
    second *= strategy.adam_beta2
    second += (1 - strategy.adam_beta2) * step**2
    adapted: Block = first / (np.sqrt(second) + strategy.adam_tau)
    return adapted
