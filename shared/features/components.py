"""Public components: directions in which public films vary most, by which a block becomes few columns.

Fitted on public films once, at the coordinator; applied at a site to one film at a time, with sums by
element in one order, so that a film's columns are that film's alone, bit for bit. A block keeps the
shares of its components' variances (no whitening) and is brought to the norm of an encoder's pooled
token by one factor; so is a block of several cells of a map, each by the same components. Imports the
columns.

Legend: n films · f columns of a block, or of a cell · k components · t cells · g cells along a side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors import safe_open

from shared.errors import WeightsError
from shared.features.columns import IMAGE_NORM, REACH_SD, Column, Floats

MOST_COMPONENTS = 32
MOST_CELLS = 16  # along a side, the finest grid of any network here
# Names of directions [f,k] and variances [k] in a file.
TENSORS = ("osteofed.directions", "osteofed.variances")
# Of cells: directions [f,k], variances [g,k] of the cells of each coarser grid, usual cells [t,f].
CELL_TENSORS = ("osteofed.cell_directions", "osteofed.cell_variances", "osteofed.cell_means")
_LEAST_SHARE = 1e-9  # of the largest variance: below it a component is rounding


def fit_components(standard: Floats) -> tuple[Floats, Floats]:
    """Directions and variances of the first components of standardised public columns.

    A direction's sign is that of its largest weight, so that equal films give an equal file.

    Shapes: [n,f] -> [f,k], [k], with k = ``MOST_COMPONENTS``, or f where a block has fewer columns.
    """
    variances, directions = np.linalg.eigh(np.cov(standard, rowvar=False, bias=True))
    order = np.argsort(variances)[::-1][:MOST_COMPONENTS]
    chosen = directions[:, order]
    largest = chosen[np.abs(chosen).argmax(axis=0), np.arange(len(order))]
    return chosen * np.sign(largest), variances[order]


def read_components(path: Path, n_components: int) -> tuple[Floats, Floats]:
    """The first components that an encoder's file holds, whose hash was checked: [f,k], [k].

    Raises:
        WeightsError: ``no-components``: it holds none, or fewer.
    """
    directions, variances = _read(path, TENSORS) or (np.zeros((0, 0)), np.zeros(0))
    _require_held(path, variances, n_components)
    return directions[:, :n_components], variances[:n_components]


def read_cells(path: Path, n_components: int, *, grid: int) -> tuple[Floats, Floats, Floats]:
    """The first components of cells that an encoder's file holds, whose hash was checked.

    Returns:
        directions [f,k]; variances [k] of the cells of a grid of ``grid`` along a side; what each cell
        of the network's own map usually is [t,f].

    Raises:
        WeightsError: ``no-cells``: it holds none, or none of so fine a grid. ``no-components``: fewer.
    """
    held = _read(path, CELL_TENSORS)
    finest = len(held[1]) if held else 0
    if held is None or grid > finest:
        allowed = f"1 to {finest}" if finest else "1, since it holds no constants of cells"
        raise WeightsError(
            "no-cells",
            f"token_grid of a source of {path.name} must be {allowed}, not {grid}",
            hint="a grid is at most the network's own map; `osteofed-coordinator cells` adds what a "
            "file without lacks",
        )
    directions, variances, means = held
    _require_held(path, variances[grid - 1], n_components)
    return directions[:, :n_components], variances[grid - 1, :n_components], means


def read_spreads(path: Path, n_components: int, *, grid: int) -> tuple[float, ...]:
    """Usual sizes [k] of the components of cells, or of the mean token (``grid`` 1).

    Raises:
        WeightsError: as ``read_components`` and ``read_cells``.
    """
    if grid == 1:
        return public_spreads(read_components(path, n_components)[1])
    return public_spreads(read_cells(path, n_components, grid=grid)[1], n_cells=grid**2)


def _read(path: Path, names: Sequence[str]) -> list[Floats] | None:
    with safe_open(path, framework="numpy") as file:
        has_them = set(names) <= set(file.keys())
        return [file.get_tensor(name).astype(np.float64) for name in names] if has_them else None


def _require_held(path: Path, variances: Floats, n_components: int) -> None:
    n_held = int((variances > _LEAST_SHARE * variances.max(initial=0.0)).sum())
    if n_held < n_components:
        raise WeightsError(
            "no-components",
            f"{path.name} holds {n_held} public components, {n_components} are asked",
            hint="ask for no more; `osteofed-coordinator cells` measures those of a file without; "
            "components: 0 is the mean token itself",
        )


def project(standard: Floats, directions: Floats, variances: Floats, *, n_cells: int = 1) -> Floats:
    """A film's standardised columns or cells as components of the public norm.

    ``n_cells``: how many cells a film's block has.

    Shapes: [f] or [t,f], [f,k], [k] -> [k] or [t,k].
    """
    total = np.zeros((*standard.shape[:-1], len(variances)))
    for place, direction in enumerate(directions):
        total += standard[..., place, None] * direction
    return total * public_factor(variances, n_cells)


def public_spreads(variances: Floats, *, n_cells: int = 1) -> tuple[float, ...]:
    """Usual size of each component at the public norm, [k]."""
    spreads: list[float] = (np.sqrt(variances) * public_factor(variances, n_cells)).tolist()
    return tuple(spreads)


def public_factor(variances: Floats, n_cells: int = 1) -> float:
    """What brings a block of so many cells, each of columns of these variances, to the public norm."""
    return IMAGE_NORM / math.sqrt(n_cells * float(variances.sum()))


def film_columns(source: str, names: Sequence[str], spreads: Sequence[float]) -> tuple[Column, ...]:
    """Columns about 0 that reach ``REACH_SD`` of their spreads to both sides."""
    return tuple(
        Column(
            name=name,
            source=source,
            low=-REACH_SD * spread,
            high=REACH_SD * spread,
            centre=0.0,
            spread=spread,
        )
        for name, spread in zip(names, spreads, strict=True)
    )
