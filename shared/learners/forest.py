"""A forest of random splits: extra trees whose structure is public, so that one sum fills all leaves.

A patient falls into one leaf of each tree (``public_trees``); a row is leaf × class over √trees, of
norm 1 for every patient with a class. What the leaves say is shrunk by what the noise puts into them.
With public splits there is one forest: bags and searched splits, by which a random forest differs from
extra trees, depend on all patients at once. Imports public trees and the contract.

Source: Geurts, Ernst, Wehenkel 2006 (Machine Learning 63:3).

Legend: n patients · f columns · q classes · e trees · l leaves of a tree.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from pydantic import BaseModel, Field

from shared.features.columns import Columns
from shared.learners.public_trees import PublicTrees
from shared.learners.rows import Floats, all_finite, one_hot, softmax, standardised
from shared.learners.task import TableTask, require_classes
from shared.strict import FROZEN
from shared.sums.contract import State

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
        return self.settings.trees * self.trees.n_leaves * self.task.n_classes

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
        rows = np.zeros((n, n_trees, self.trees.n_leaves, n_classes))
        patient, tree = np.arange(n)[:, None], np.arange(n_trees)[None, :]
        rows[patient, tree, self.trees.leaves(patients.columns)] = vote[:, None, :]
        return rows.reshape(n, self.length(state))

    def advance(self, state: State, total: Floats, *, sd: float, n_declared: float) -> State:
        """By what part a leaf's class shares exceed everybody's, small leaves taken as the floor."""
        del n_declared
        n_trees, n_classes = self.settings.trees, self.task.n_classes
        unit = math.sqrt(n_trees)
        counts = unit * total.reshape(n_trees, self.trees.n_leaves, n_classes)
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
        more = state.vector[n_classes:].reshape(self.settings.trees, self.trees.n_leaves, n_classes)
        trees = np.arange(self.settings.trees)
        leaves = self.trees.leaves(patients.columns)
        votes = more[trees, leaves].mean(axis=1)
        return softmax(np.log(everybody) + self.settings.sharpness * votes)

    @cached_property
    def trees(self) -> PublicTrees:
        """The trees that the plan's seed draws."""
        return PublicTrees(
            columns=self.task.columns,
            n_trees=self.settings.trees,
            depth=self.settings.depth,
            seed=self.task.seed,
        )
