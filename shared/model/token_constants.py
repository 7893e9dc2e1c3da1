"""What public films say of an encoder's tokens: constants that standardise them, and components.

A map is cells, rows first. A cell of the anatomy differs from one of the background on every film
alike, so of cells a file holds what each usually is, and components are directions of what a cell has
beyond that, the same for all cells. Imports components.

Legend: n films · t cells of a map, t = g² · c channels · k components · g cells along a side.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from shared.features.components import CELL_TENSORS, TENSORS, fit_components

POOLED_NORM = 3.0


def shrink_map(mapped: Tensor, grid: int) -> Tensor:
    """Means over the cells of a coarser grid; cells overlap where ``grid`` does not divide the map's.

    As ``adaptive_avg_pool2d``, whose backward pass has no fixed order of summation on a GPU.

    Shapes: [b,c,g,g] -> [b,c,grid,grid].
    """
    b, c, g, _ = mapped.shape
    if g % grid == 0:
        step = g // grid
        blocks: Tensor = mapped.reshape(b, c, grid, step, grid, step).mean(dim=(3, 5))
        return blocks
    weight = mapped.new_zeros(grid, g)
    for cell in range(grid):
        start, end = cell * g // grid, -(-(cell + 1) * g // grid)
        weight[cell, start:end] = 1.0 / (end - start)
    return weight @ mapped @ weight.T


def shrink_tokens(tokens: Tensor, grid: int) -> Tensor:
    """Tokens of a coarser grid, [n,t,c] -> [n,grid²,c]."""
    n, t, c = tokens.shape
    side = math.isqrt(t)
    mapped = tokens.transpose(1, 2).reshape(n, c, side, side)
    return shrink_map(mapped, grid).flatten(2).transpose(1, 2)


def measure_constants(tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Channel mean, SD of the pooled token, and the factor that makes its typical norm 3.

    Shapes: tokens [n,t,c] of public films -> [c], [c], [].
    """
    pooled = tokens.mean(dim=1)  # [n,c]
    mean = pooled.mean(dim=0)
    deviation = pooled.std(dim=0).clamp(min=1e-6)
    # A standardised pooled token has a squared norm of c on average.
    return mean, deviation, torch.tensor(POOLED_NORM / math.sqrt(tokens.shape[-1]))


def measure_components(tokens: Tensor) -> dict[str, Tensor]:
    """Public components of the standardised pooled token, as an encoder's file holds them.

    Shapes: tokens [n,t,c] of public films -> directions [c,k], variances [k].
    """
    pooled = tokens.mean(dim=1).numpy().astype(np.float64)
    fitted = fit_components(pooled)
    return {name: torch.from_numpy(value).float() for name, value in zip(TENSORS, fitted, strict=True)}


def measure_cells(tokens: Tensor) -> dict[str, Tensor]:
    """Public components of standardised cells, as an encoder's file holds them.

    Directions are those of the map's own cells; a row of variances is of the cells of one coarser grid,
    the last one of the map itself.

    Shapes: tokens [n,t,c] of public films -> directions [c,k], variances [g,k], means [t,c].
    """
    means = tokens.double().mean(dim=0)
    beyond = tokens.double() - means
    directions, _ = fit_components(beyond.flatten(0, 1).numpy())
    said = beyond @ torch.from_numpy(directions)  # [n,t,k]
    grids = range(1, math.isqrt(tokens.shape[1]) + 1)
    variances = [shrink_tokens(said, grid).square().mean(dim=(0, 1)) for grid in grids]
    measured = (torch.from_numpy(directions), torch.stack(variances), means)
    return {name: value.float() for name, value in zip(CELL_TENSORS, measured, strict=True)}
