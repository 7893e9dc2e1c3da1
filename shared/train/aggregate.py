"""How updates become new weights: FedAvg, FedProx, FedAdam, and the robust rules.

Every rule sees one block of coordinates of all present updates at a time, [s, block], so that server
memory is flat in sites: updates are memory maps of the journal. Sums are float64, in roster order,
hence equal bit for bit when a round is repeated. Aggregation weights are plan constants, renormalised
over the sites present; they never come from a cohort's size. Imports settings and the robust rules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from shared.contract.protocol import Vector
from shared.contract.stages import StrategySettings
from shared.errors import RunError
from shared.train.robust import (
    Block,
    blocks_of,
    geometric_shares,
    median,
    trimmed_mean,
    weighted_mean,
)


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
    step = combined(updates, shares=shares, strategy=strategy)
    result = np.empty_like(weights)
    kept = _fresh_memory(weights.size, strategy)
    for name, vector in memory.items():
        kept[name][:] = vector
    for part in blocks_of(weights.size):
        moved = step[part]
        if strategy.name == "fedadam":
            moved = _adam_step(moved, kept["first"][part], kept["second"][part], strategy)
        result[part] = weights[part] + strategy.server_learning_rate * moved
    return result, kept


def tail_average(vectors: Sequence[Vector]) -> Vector:
    """Mean of the last rounds' weights, each [p], summed in float64 in round order.

    Source: Polyak & Juditsky 1992, SIAM J. Control Optim. 30:838; post-processing, so free under DP.
    """
    mean = np.empty_like(vectors[0])
    shares = [1.0 / len(vectors)] * len(vectors)
    for part in blocks_of(mean.size):
        mean[part] = weighted_mean([vector[part] for vector in vectors], shares)
    return mean


def combined(
    updates: Sequence[Vector], *, shares: Sequence[float], strategy: StrategySettings
) -> Block:
    """What the strategy makes of the sites' updates [p], each per declared patient.

    Arguments as ``next_weights``.
    """
    if strategy.name == "geometric_median":
        shares = geometric_shares(updates)
    result = np.empty(updates[0].size)
    for part in blocks_of(result.size):
        block = [update[part] for update in updates]
        if strategy.name == "median":
            result[part] = median(block)
        elif strategy.name == "trimmed_mean":
            result[part] = trimmed_mean(block, fraction=strategy.trimmed_fraction)
        else:
            result[part] = weighted_mean(block, shares)
    return result


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
