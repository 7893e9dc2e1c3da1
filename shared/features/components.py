"""Public components: directions in which public films vary most, by which a block becomes few columns.

Fitted on public films once, at the coordinator; applied at a site to one film at a time, with sums by
element in one order, so that a film's columns are that film's alone, bit for bit. A block keeps the
shares of its components' variances (no whitening) and is brought to the norm of an encoder's pooled
token by one factor. Imports the columns.

Legend: n films · f columns of a block · k components.
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
# Names of directions [f,k] and variances [k] in a file.
TENSORS = ("osteofed.directions", "osteofed.variances")
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
    with safe_open(path, framework="numpy") as file:
        has_them = set(TENSORS) <= set(file.keys())
        found = [file.get_tensor(name).astype(np.float64) for name in TENSORS] if has_them else []
    directions, variances = found or (np.zeros((0, 0)), np.zeros(0))
    n_held = int((variances > _LEAST_SHARE * variances.max(initial=0.0)).sum())
    if n_held < n_components:
        raise WeightsError(
            "no-components",
            f"{path.name} holds {n_held} public components, {n_components} are asked",
            hint="pack or pretrain it again, which measures them, or ask for components: 0",
        )
    return directions[:, :n_components], variances[:n_components]


def project(standard: Floats, directions: Floats, variances: Floats) -> Floats:
    """A film's standardised columns as components of the public norm, [f], [f,k], [k] -> [k]."""
    total = np.zeros(len(variances))
    for value, direction in zip(standard, directions, strict=True):
        total += value * direction
    return total * public_factor(variances)


def public_spreads(variances: Floats) -> tuple[float, ...]:
    """Usual size of each component at the public norm, [k]."""
    spreads: list[float] = (np.sqrt(variances) * public_factor(variances)).tolist()
    return tuple(spreads)


def public_factor(variances: Floats) -> float:
    """What brings a block of columns of these variances to the public norm."""
    return IMAGE_NORM / math.sqrt(float(variances.sum()))


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
