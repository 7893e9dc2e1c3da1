"""Trees whose splits the plan's seed draws: public structure, for sums to fill.

Columns, the more often the larger their public SD, and thresholds are drawn from the seed, never from
patients. A patient falls into one leaf of each tree. Imports columns and rows.

Source: Geurts, Ernst, Wehenkel 2006 (Machine Learning 63:3), with one candidate split per node.

Legend: n patients · f columns · e trees · l leaves of a tree.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from shared.features.columns import Column
from shared.learners.rows import Floats, standardised

# Thresholds are drawn evenly from a column's centre up to so many public SDs on either side.
_THRESHOLD_REACH_SD = 2.0


@dataclass(frozen=True, kw_only=True)
class PublicTrees:
    """e trees of one depth over public columns."""

    columns: tuple[Column, ...]
    n_trees: int
    depth: int
    seed: int

    @property
    def n_leaves(self) -> int:
        """l, of each tree."""
        return int(2**self.depth)

    def leaves(self, values: Floats) -> NDArray[np.intp]:
        """Each patient's leaf of each tree, [n,f] -> [n,e]; a value at a threshold goes left."""
        values = standardised(values, self.columns)
        column, threshold = self.splits
        n_nodes = column.shape[1]
        trees = np.arange(len(column))
        node = np.zeros((len(values), len(column)), dtype=np.intp)
        for _ in range(self.depth):
            value = values[np.arange(len(values))[:, None], column[trees, node]]
            node = 2 * node + 1 + (value > threshold[trees, node])
        leaf: NDArray[np.intp] = node - n_nodes
        return leaf

    @cached_property
    def splits(self) -> tuple[NDArray[np.intp], Floats]:
        """Column and threshold (public SDs) of each node, root first, each [e, l − 1]."""
        shape = (self.n_trees, self.n_leaves - 1)
        # The stream of RandomState is the same in every version of numpy (NEP 19).
        draw = np.random.RandomState([self.seed, *shape])
        spread = np.array([each.spread for each in self.columns])
        chance = np.cumsum(spread) / spread.sum()
        column = np.searchsorted(chance, draw.random_sample(shape), side="right")
        column = np.minimum(column, len(spread) - 1)
        threshold = _THRESHOLD_REACH_SD * (2.0 * draw.random_sample(shape) - 1.0)
        is_mark = np.array([each.is_mark for each in self.columns])
        return column, np.where(is_mark[column], 0.0, threshold)
