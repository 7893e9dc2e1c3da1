"""Boosting on public trees: each sum fills a round of trees with the gradients of what is still wrong.

The plan's seed draws all trees (``public_trees``), so that no split is searched. With p a patient's
shares after the rounds before, g = p − y and h = p(1 − p) are the slope and curvature of −log P(class)
by the scores. A row is leaf ⊗ (g, h) for each tree of the round, over √trees: a patient is in one leaf
of each tree, so its norm is that of (g, h), which is clipped.

Bound: ‖(g, h)‖² = Σ (p − y)² + Σ p²(1 − p)² < 2, since p²(1 + (1 − p)²)/p rises in p, so that it is
largest with all the rest in one class, and s²(1 + (1 − s)²) ≤ 1. The bound is the clip norm, which a
patient attains of whom the state is as little sure as at the start, where all classes are alike: ‖(g,
h)‖² is then (1 − 1/q)(1 + (1 − 1/q)/q²), at least .56. Imports public trees, the contract and the
lattice.

Source: Friedman 2001 (Ann Stat 29:1189), algorithm 6; several trees a round share one step.

Legend: n patients · q classes · t rounds · e trees of a round · l leaves of a tree.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from shared.features.columns import Columns, clip_columns
from shared.learners.descent import within_reach
from shared.learners.public_trees import PublicTrees
from shared.learners.rows import Floats, all_finite, one_hot, softmax
from shared.learners.task import TableTask, require_classes
from shared.strict import FROZEN
from shared.sums.contract import State
from shared.sums.lattice import bound_rows


class BoostingSettings(BaseModel):
    """Settings of boosting on trees that the plan's seed draws.

    Attributes:
        rounds: of trees, one sum each.
        trees: of a round.
        depth: splits from root to leaf.
        clip_norm: largest L2 norm of one patient's slopes and curvatures.
        rate: by how much a round's mean tree moves the scores.
        leaf_floor: curvature that is added to that of a leaf.
        noise_floor: noise SDs of curvature that are added to that of a leaf.
    """

    model_config = FROZEN

    kind: Literal["boosting"]
    rounds: int = Field(default=8, ge=1, le=1000)
    trees: int = Field(default=30, ge=1, le=10_000)
    depth: int = Field(default=3, ge=1, le=10)
    clip_norm: float = Field(default=0.5, gt=0, le=0.7)
    rate: float = Field(default=4.0, gt=0, le=100)
    leaf_floor: float = Field(default=5.0, gt=0, le=1e6)
    noise_floor: float = Field(default=2.0, ge=0, le=100)


@dataclass(frozen=True)
class Boosting:
    """State [t·(q + e·l·q)] of the rounds that are done: offsets of classes, then of leaves."""

    task: TableTask
    settings: BoostingSettings

    @classmethod
    def build(cls, settings: BoostingSettings, task: TableTask) -> Boosting:
        """The learner of a plan.

        Raises:
            SettingsError: the target is no class.
        """
        require_classes(task, kind=settings.kind)
        return cls(task, settings)

    def start(self) -> State:
        """No tree: all classes are alike."""
        return State(np.zeros(0))

    def shares(self) -> tuple[float, ...]:
        """Equal."""
        return (1.0 / self.settings.rounds,) * self.settings.rounds

    def length(self, state: State) -> int:
        """2·e·l·q."""
        del state
        return 2 * self._n_cells

    def bound(self, state: State) -> float:
        """The clip norm."""
        del state
        return self.settings.clip_norm

    def rows(self, state: State, patients: Columns) -> Floats:
        """The patient's leaf of each tree of the round ⊗ (g, h), over √e, [n, 2·e·l·q]."""
        n, (e, leaf_count) = len(patients), (self.settings.trees, self.trees.n_leaves)
        leaves = self.trees.leaves(patients.columns)
        shares = self._shares_of(state, leaves)
        slopes = shares - one_hot(patients.target, self.task.n_classes)
        slopes[~all_finite(clip_columns(patients.columns, self.task.columns))] = np.nan
        shown = np.hstack([slopes, shares * (1.0 - shares)])
        shown = bound_rows(shown, bound=self.settings.clip_norm) / math.sqrt(e)
        rows = np.zeros((n, e, leaf_count, shown.shape[1]))
        first = min(state.sums_done, self.settings.rounds - 1) * e
        patient, tree = np.arange(n)[:, None], np.arange(e)[None, :]
        rows[patient, tree, leaves[:, first : first + e]] = shown[:, None, :]
        return rows.reshape(n, self.length(state))

    def advance(self, state: State, total: Floats, *, sd: float, n_declared: float) -> State:
        """One round more: a step of all patients, and of each leaf what it differs from them."""
        del n_declared
        e, q, settings = self.settings.trees, self.task.n_classes, self.settings
        both = total.reshape(e, self.trees.n_leaves, 2 * q) * math.sqrt(e)
        slope, curvature = both[..., :q], both[..., q:]
        noise = settings.noise_floor * sd * math.sqrt(e)
        # Every tree holds every patient once, so the mean over trees takes most of the noise.
        whole_slope, whole_curvature = (
            slope.sum(axis=1).mean(axis=0),
            curvature.sum(axis=1).mean(axis=0),
        )
        whole = np.maximum(whole_curvature, settings.leaf_floor + noise)
        common = -whole_slope / whole  # [q]
        held = np.maximum(curvature, 0.0)
        apart = -(slope + common * held) / (held + settings.leaf_floor + noise)
        moved = np.concatenate([common, settings.rate / e * apart.ravel()])
        return State(np.concatenate([state.vector, moved]), state.sums_done + 1)

    def predict(self, state: State, patients: Columns) -> Floats:
        """Probability of each class [n,q]."""
        return self._shares_of(state, self.trees.leaves(patients.columns))

    @property
    def _n_cells(self) -> int:
        return self.settings.trees * self.trees.n_leaves * self.task.n_classes

    @cached_property
    def trees(self) -> PublicTrees:
        """The trees of all rounds that the plan's seed draws, in the rounds' order."""
        return PublicTrees(
            columns=self.task.columns,
            n_trees=self.settings.rounds * self.settings.trees,
            depth=self.settings.depth,
            seed=self.task.seed,
        )

    def _shares_of(self, state: State, leaves: NDArray[np.intp]) -> Floats:
        """Probabilities [n,q] after the rounds that a state holds, from leaves [n, rounds·e]."""
        e, q = self.settings.trees, self.task.n_classes
        rounds = state.vector.reshape(-1, q + self._n_cells)
        with np.errstate(over="ignore", invalid="ignore"):
            scores = np.tile(rounds[:, :q].sum(axis=0), (len(leaves), 1))
            for place, cells in enumerate(rounds[:, q:]):
                table = cells.reshape(e, -1, q)
                scores += table[np.arange(e), leaves[:, place * e : (place + 1) * e]].sum(axis=1)
        return softmax(within_reach(scores))
