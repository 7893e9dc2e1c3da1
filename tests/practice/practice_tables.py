"""Tables of plain numbers for learners, with a planted relation, and the task that goes with them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.features.columns import Column, Columns
from shared.learners.task import TableTask

Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


def number_columns(f: int, *, reach: float = 100.0, spread: float = 1.0) -> tuple[Column, ...]:
    """Columns whose range no drawn value reaches."""
    return tuple(
        Column(name=f"x{place}", source="clinical", low=-reach, high=reach, centre=0.0, spread=spread)
        for place in range(f)
    )


def table_task(
    f: int,
    *,
    n_classes: int = 0,
    is_ordered: bool = True,
    seed: int = 1,
    epsilon: float | None = None,
) -> TableTask:
    return TableTask(
        columns=number_columns(f),
        n_classes=n_classes,
        is_ordered=is_ordered,
        seed=seed,
        epsilon=epsilon,
    )


def numbers(n: int, f: int, *, seed: int = 0) -> Columns:
    """A number that follows the first two of f correlated columns."""
    draw = np.random.default_rng(seed)
    values = draw.normal(size=(n, f)) + 0.5 * draw.normal(size=(n, 1)) + 0.3
    return Columns(values, 0.8 * values[:, 0] - 0.5 * values[:, 1] + 0.4 * draw.normal(size=n) + 0.2)


def classes(n: int, f: int, *, seed: int = 0) -> Columns:
    """Three ordered classes of unequal size that follow the same columns."""
    drawn = numbers(n, f, seed=seed)
    return Columns(drawn.columns, np.digitize(drawn.target, [-0.4, 1.0]).astype(np.float64))


def in_three(patients: Columns) -> list[Columns]:
    """The patients at three sites of unequal size."""
    n = len(patients)
    edges = [0, n // 7, n // 2, n]
    return [patients.select(range(*pair)) for pair in itertools.pairwise(edges)]


@dataclass(frozen=True)
class Numbers:
    """Patients of plain rows [n,m]."""

    values: Floats

    def __len__(self) -> int:
        return len(self.values)

    def select(self, indices: Sequence[int], /) -> Numbers:
        return Numbers(self.values[list(indices)])

    def filled(self, size: int, /) -> Numbers:
        return Numbers(np.pad(self.values, ((0, max(size - len(self), 0)), (0, 0))))


def some(n: int) -> Numbers:
    return Numbers(np.random.default_rng(n).uniform(-0.7, 0.7, size=(n, 2)))


def sum_table(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """The exact table [n_cells] of rows [n, n_cells], as a gate adds them without its noise."""
    total: NDArray[np.float64] = rows.sum(axis=0)
    return total
