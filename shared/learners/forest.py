"""A forest of random splits: extra trees whose structure is public, so that one sum fills all leaves.

Columns, the more often the larger their public SD, and thresholds are drawn from the plan's seed, never
from patients. A patient falls into one leaf of each tree; a row is leaf × class over √trees, of norm 1.
What the leaves say is shrunk by what the noise puts into them. Imports columns and the contract.

Source: Geurts, Ernst, Wehenkel 2006 (Machine Learning 63:3), with one candidate split per node.

Legend: n patients · f columns · q classes · e trees · l leaves of a tree.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from shared.features.columns import Columns
from shared.learners.rows import Floats, all_finite, one_hot, softmax, standardised
from shared.learners.task import TableTask, require_classes
from shared.strict import FROZEN
from shared.sums.contract import State

# Thresholds are drawn evenly from a column's centre up to so many public SDs on either side.
_THRESHOLD_REACH_SD = 2.0
_ONE_PATIENT = 1.0


class ForestSettings(BaseModel):
    """Settings of extra trees whose splits the plan's seed draws.

    Attributes:
        trees: how many.
        depth: splits from root to leaf.
        vote_floor: a leaf counts as if it held this many noise SDs of patients at least.
        leaf_floor: a leaf counts as if it held this many patients at least.
        sharpness: by how much the mean vote raises the logarithm of a class's odds; many weak trees are
            surer together than their mean.
    """

    model_config = FROZEN

    kind: Literal["forest"]
    trees: int = Field(default=300, ge=1, le=10_000)
    depth: int = Field(default=4, ge=1, le=10)
    vote_floor: float = Field(default=2.0, ge=0, le=100)
    leaf_floor: float = Field(default=5.0, gt=0, le=1e6)
    sharpness: float = Field(default=5.0, gt=0, le=1e4)


@dataclass(frozen=True)
class Forest:
    """State after the sum [q + e·l·q]: class shares, and by what part a leaf exceeds each."""

    task: TableTask
    settings: ForestSettings

    @classmethod
    def build(cls, settings: ForestSettings, task: TableTask) -> Forest:
        """The learner of a plan.

        Raises:
            SettingsError: the target is no class.
        """
        require_classes(task, kind=settings.kind)
        return cls(task, settings)

    def start(self) -> State:
        """Nothing: the row depends on no state."""
        return State(np.zeros(0))

    def shares(self) -> tuple[float, ...]:
        """One sum."""
        return (1.0,)

    def length(self, state: State) -> int:
        """e·l·q."""
        del state
        return self.settings.trees * self._n_leaves * self.task.n_classes

    def bound(self, state: State) -> float:
        """1."""
        del state
        return 1.0

    def rows(self, state: State, patients: Columns) -> Floats:
        """The patient's leaf of each tree ⊗ class, over √e, [n, e·l·q]."""
        n, n_trees, n_classes = len(patients), self.settings.trees, self.task.n_classes
        hot = one_hot(patients.target, n_classes)
        values = standardised(patients.columns, self.task.columns)
        usable = np.isfinite(hot[:, 0]) & all_finite(values)
        vote = np.where(usable[:, None], hot, 0.0) / math.sqrt(n_trees)
        rows = np.zeros((n, n_trees, self._n_leaves, n_classes))
        patient, tree = np.arange(n)[:, None], np.arange(n_trees)[None, :]
        rows[patient, tree, self._leaves(values)] = vote[:, None, :]
        return rows.reshape(n, self.length(state))

    def advance(self, state: State, total: Floats, *, sd: float, n_declared: float) -> State:
        """By what part a leaf's class shares exceed everybody's, small leaves taken as the floor."""
        del n_declared
        n_trees, n_classes = self.settings.trees, self.task.n_classes
        unit = math.sqrt(n_trees)
        counts = unit * total.reshape(n_trees, self._n_leaves, n_classes)
        everybody = np.maximum(counts.sum(axis=(0, 1)), _ONE_PATIENT)
        everybody = everybody / everybody.sum()  # [q]
        held = counts.sum(axis=2, keepdims=True)
        noise = self.settings.vote_floor * sd * unit * math.sqrt(n_classes)
        size = np.maximum(held, max(noise, self.settings.leaf_floor))
        more = (counts / everybody - held) / size
        return State(np.concatenate([everybody, more.ravel()]), state.sums_done + 1)

    def predict(self, state: State, patients: Columns) -> Floats:
        """Probability of each class [n,q]: its share, raised by the trees' mean vote."""
        n_classes = self.task.n_classes
        everybody = state.vector[:n_classes]
        more = state.vector[n_classes:].reshape(self.settings.trees, self._n_leaves, n_classes)
        trees = np.arange(self.settings.trees)
        leaves = self._leaves(standardised(patients.columns, self.task.columns))
        votes = more[trees, leaves].mean(axis=1)
        return softmax(np.log(everybody) + self.settings.sharpness * votes)

    @property
    def _n_leaves(self) -> int:
        return int(2**self.settings.depth)

    def _leaves(self, values: Floats) -> NDArray[np.intp]:
        """Each patient's leaf of each tree: values [n,f] in public SDs -> [n,e]."""
        column, threshold = self._splits
        n_nodes = column.shape[1]
        trees = np.arange(len(column))
        node = np.zeros((len(values), len(column)), dtype=np.intp)
        for _ in range(self.settings.depth):
            value = values[np.arange(len(values))[:, None], column[trees, node]]
            node = 2 * node + 1 + (value > threshold[trees, node])
        leaf: NDArray[np.intp] = node - n_nodes
        return leaf

    @cached_property
    def _splits(self) -> tuple[NDArray[np.intp], Floats]:
        """Column and threshold of each node, root first, each [e, l − 1]."""
        shape = (self.settings.trees, self._n_leaves - 1)
        # The stream of RandomState is the same in every version of numpy (NEP 19).
        draw = np.random.RandomState([self.task.seed, *shape])
        spread = np.array([each.spread for each in self.task.columns])
        chance = np.cumsum(spread) / spread.sum()
        column = np.searchsorted(chance, draw.random_sample(shape), side="right")
        column = np.minimum(column, len(spread) - 1)
        threshold = _THRESHOLD_REACH_SD * (2.0 * draw.random_sample(shape) - 1.0)
        is_mark = np.array([each.is_mark for each in self.task.columns])
        return column, np.where(is_mark[column], 0.0, threshold)
