"""Ordered or unordered classes: who is of which, who is called which, and how scores rank them.

Blocks of cells, each with its own weight in the row; a block of weight 0 is left out and costs nothing.
*Ranking*, where one score grades the classes: one-hot over true class × bin of the score, with every
cut of the decision on an edge, so that it holds who is called what; where each class has a probability,
a one-hot over (is it, is it not) × bin for each of the C classes at 1/√C of the weight. *Confusion*: a
one-hot over true × called class, where the ranking does not hold it. *Error*: the Brier score as one
cell in [−1, 1]. Every figure is post-processing. Imports the contract of
sums and intervals.
Legend: n patients · c classes · b bins · m cells.

Source: Hanley & McNeil 1982 (Radiology 143:29); Cohen 1968 (Psychol Bull 70:213) for the weighted κ;
Brier 1950 (Mon Weather Rev 78:1).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, model_validator

from shared.errors import PolicyError, SettingsError
from shared.measures.figures import (
    auc_of,
    balanced_accuracy,
    bounded,
    kappa,
    macro_f1,
    mean_of,
    quadratic_kappa,
    share_of,
    smooth_figure,
    support_of,
    worth_showing,
)
from shared.measures.scored import MeasureTask, Rule, Scored, start_of_measure
from shared.strict import FROZEN
from shared.sums.contract import Floats, State
from shared.sums.estimate import SUPPRESSED, Estimate
from shared.sums.intervals import normal_quantile

Bools = NDArray[np.bool_]
Indices = NDArray[np.intp]

# How many are taken to be of the severest class, before anything is known.
_SEVEREST = 0.2


class ClassesSettings(BaseModel):
    """``low``, ``high``: public ends of the scores' bins; a score beyond falls in an end bin.

    ``ranking``, ``confusion``, ``error``: weights of the blocks, 0 leaves one out. More weight, less
    noise in that block and more in the others.
    """

    model_config = FROZEN

    kind: Literal["classes"]
    bins: int = Field(default=8, ge=4, le=64)
    low: float
    high: float
    ranking: float = Field(default=1.0, ge=0, le=10)
    confusion: float = Field(default=0.0, ge=0, le=10)
    error: float = Field(default=0.0, ge=0, le=10)

    @model_validator(mode="after")
    def _measures_something(self) -> ClassesSettings:
        if self.low >= self.high:
            raise ValueError(f"low must lie below high, not {self.low} and {self.high}")
        if not self.ranking and not self.confusion:
            raise ValueError("ranking or confusion needs a weight above 0")
        return self


@dataclass(frozen=True)
class Classes:
    """Cells [m]: ranking, confusion, error, as far as each has a weight."""

    settings: ClassesSettings
    rule: Rule

    @classmethod
    def build(cls, settings: ClassesSettings, task: MeasureTask) -> Classes:
        """The measure of a plan.

        Raises:
            SettingsError: a block that the task does not have, or a cut outside the scores.
        """
        rule = task.rule
        if rule.is_regression and (settings.confusion or settings.error):
            raise SettingsError(
                "block-not-needed",
                "a measure of graded classes has one block, the ranking: it holds who is called what",
                hint="set confusion and error to 0",
            )
        if rule.is_regression:
            outside = [cut for cut in rule.output_cuts if not settings.low < cut < settings.high]
            if outside:
                raise SettingsError(
                    "cut-outside-scores",
                    f"cuts {outside} must lie between low {settings.low} and high {settings.high}",
                    hint="widen the scores that the measure counts",
                )
        return cls(settings, rule)

    @property
    def n_classes(self) -> int:
        """How many classes there are."""
        return len(self.rule.classes)

    @property
    def edges(self) -> Floats:
        """Edges between bins [b − 1], rising; in graded classes the cuts are among them."""
        settings = self.settings
        edges = np.linspace(settings.low, settings.high, settings.bins + 1)[1:-1]
        if self.rule.is_regression:
            is_taken = np.zeros(len(edges), dtype=bool)
            for cut in self.rule.output_cuts:
                nearest = int(np.where(is_taken, np.inf, np.abs(edges - cut)).argmin())
                edges[nearest], is_taken[nearest] = cut, True
        return np.sort(edges)

    def start(self) -> State:
        """Nothing."""
        return start_of_measure()

    def shares(self) -> tuple[float, ...]:
        """One sum has it all."""
        return (1.0,)

    def length(self, state: State) -> int:
        """Cells of the blocks that have a weight."""
        del state
        return sum(part.stop - part.start for part in self._blocks().values())

    def bound(self, state: State) -> float:
        """√ of the squared weights."""
        del state
        return math.hypot(*(getattr(self.settings, name) for name in self._blocks()))

    def rows(self, state: State, patients: Scored) -> Floats:
        """A patient's cells [n,m]; zeros without a label. What is no number ranks against its class."""
        rows = np.zeros((len(patients), self.length(state)))
        true = self.rule.class_of(patients.label)
        known = np.flatnonzero((true >= 0) & (true < self.n_classes))
        outputs, true = patients.outputs[known], true[known]
        blocks = self._blocks()
        if "ranking" in blocks and self.rule.is_regression:
            cell = true * self.settings.bins + self._graded_bins(outputs, true)
            rows[known, blocks["ranking"].start + cell] = self.settings.ranking
        elif "ranking" in blocks:
            for place in range(self.n_classes):
                is_it = true == place
                within = self._bins_against(outputs[:, place], is_it)
                cell = (2 * place + is_it) * self.settings.bins + within
                weight = self.settings.ranking / math.sqrt(self.n_classes)
                rows[known, blocks["ranking"].start + cell] = weight
        if "confusion" in blocks:
            called = self.rule.call(outputs)
            cell = true * self.n_classes + called
            rows[known, blocks["confusion"].start + cell] = self.settings.confusion
        if "error" in blocks:
            with np.errstate(over="ignore", invalid="ignore"):
                squares = (outputs - (true[:, None] == np.arange(self.n_classes))) ** 2
            brier = np.clip(np.nan_to_num(squares.sum(axis=1) / 2.0, nan=1.0, posinf=1.0), 0.0, 1.0)
            rows[known, blocks["error"].start] = self.settings.error * (2.0 * brier - 1.0)
        return rows

    def advance(self, state: State, total: Floats, *, sd: float, n_declared: float) -> State:
        """The total itself."""
        del sd, n_declared
        return State(total, state.sums_done + 1)

    def _blocks(self) -> Mapping[str, slice]:
        """Where each block with a weight lies."""
        c, b = self.n_classes, self.settings.bins
        sizes = {
            "ranking": c * b if self.rule.is_regression else 2 * c * b,
            "confusion": c * c,
            "error": 1,
        }
        blocks, start = {}, 0
        for name, size in sizes.items():
            if getattr(self.settings, name):
                blocks[name] = slice(start, start + size)
                start += size
        return blocks

    def _graded_bins(self, outputs: Floats, true: Indices) -> Indices:
        """Bins of scores by rising value; the first class has the lowest."""
        score = self.rule.score(outputs)
        bins = np.searchsorted(self.edges, score, side="left")
        furthest = np.where(true == 0, self.settings.bins - 1, 0)
        return np.where(np.isfinite(score), bins, furthest)

    def _bins_against(self, probability: Floats, is_it: Bools) -> Indices:
        """Bins by rising probability of a class."""
        bins = np.searchsorted(self.edges, probability, side="right")
        return np.where(np.isfinite(probability), bins, np.where(is_it, 0, self.settings.bins - 1))

    def read(
        self, total: Floats, *, sd: float, minimum_cell: int, n_expected: float
    ) -> Mapping[str, Estimate]:
        """Figures of each class and of all, as far as the blocks give them.

        Under noise a figure is shown where it was expected to say something, whatever came out.
        """
        found = self._figures(total, sd=sd, minimum_cell=0 if sd else minimum_cell)
        if not sd:
            return found
        expected = self._figures(self._expected(n_expected), sd=sd, minimum_cell=minimum_cell)
        return worth_showing(found, expected)

    def suppress(self, total: Floats, minimum_cell: int) -> Floats:
        """An exact total leaves only where no cell of it is of a few patients.

        Raises:
            PolicyError: one is.
        """
        for name, part in self._blocks().items():
            weight = getattr(self.settings, name)
            if name == "ranking" and not self.rule.is_regression:
                weight /= math.sqrt(self.n_classes)
            counts = np.rint(total[part] / weight)
            if name != "error" and ((counts > 0) & (counts < minimum_cell)).any():
                raise PolicyError(
                    "cell-too-small",
                    f"a cell of the {name} holds fewer than {minimum_cell} patients",
                    hint="ask for noised tables (validation.release_class=dp), or for fewer bins",
                )
        return total

    def _figures(self, total: Floats, *, sd: float, minimum_cell: int) -> dict[str, Estimate]:
        blocks, c, b = self._blocks(), self.n_classes, self.settings.bins
        found: dict[str, Estimate] = {}
        if "ranking" in blocks and self.rule.is_regression:
            cell_sd = sd / self.settings.ranking
            bins = total[blocks["ranking"]].reshape(c, b) / self.settings.ranking
            found |= support_of(
                self.rule.classes, bins.sum(axis=1), cell_sd * math.sqrt(b), minimum_cell
            )
            for place in range(c - 1):
                ill = bins[: place + 1].sum(axis=0)[::-1]
                well = bins[place + 1 :].sum(axis=0)[::-1]
                sds = cell_sd * math.sqrt(place + 1), cell_sd * math.sqrt(c - 1 - place)
                found[f"AUC, {self._up_to(place)}"] = auc_of(ill, well, max(sds), minimum_cell)
            ends = np.searchsorted(self.edges, self.rule.output_cuts, side="right")
            parts = np.split(np.arange(b), ends)
            confusion = np.stack([bins[:, part].sum(axis=1) for part in parts], axis=1)
            variance = np.array([[cell_sd**2 * len(part) for part in parts]] * c)
            return found | self._of_confusion(confusion, variance, minimum_cell=minimum_cell)
        if "ranking" in blocks:
            weight = self.settings.ranking / math.sqrt(c)
            pairs = total[blocks["ranking"]].reshape(c, 2, b) / weight
            found |= support_of(
                self.rule.classes, pairs[:, 1].sum(axis=1), sd / weight * math.sqrt(b), minimum_cell
            )
            aucs = {}
            for place, name in enumerate(self.rule.classes):
                well, ill = pairs[place]
                aucs[f"AUC, {name}"] = auc_of(ill, well, sd / weight, minimum_cell)
            found |= aucs | {"macro AUC": mean_of(list(aucs.values()))}
        if "confusion" in blocks:
            confusion = total[blocks["confusion"]].reshape(c, c) / self.settings.confusion
            variance = np.full((c, c), (sd / self.settings.confusion) ** 2)
            found |= self._of_confusion(confusion, variance, minimum_cell=minimum_cell)
        if "error" in blocks:
            found["Brier"] = self._brier(total, sd=sd, minimum_cell=minimum_cell)
        return found

    def _up_to(self, place: int) -> str:
        name = self.rule.classes[place]
        return name if place == 0 else f"{name} or worse"

    def _of_confusion(
        self, confusion: Floats, variance: Floats, *, minimum_cell: int
    ) -> dict[str, Estimate]:
        """Of true × called patients [c,c] and the noise variance of each cell."""
        found: dict[str, Estimate] = {}
        everybody = np.ones_like(confusion, dtype=bool)
        for place, name in enumerate(self.rule.classes):
            true, called = np.zeros_like(everybody), np.zeros_like(everybody)
            true[place], called[:, place] = True, True
            for word, hit, of in (
                ("sensitivity", true & called, true),
                ("specificity", ~true & ~called, ~true),
                ("PPV", true & called, called),
                ("NPV", ~true & ~called, ~called),
            ):
                found[f"{word}, {name}"] = share_of(confusion, variance, hit, of, minimum_cell)
        diagonal = np.eye(self.n_classes, dtype=bool)
        found["accuracy"] = share_of(confusion, variance, diagonal, everybody, minimum_cell)
        for name, figure in (
            ("balanced accuracy", balanced_accuracy),
            ("macro F1", macro_f1),
            ("κ", kappa),
            ("quadratic κ", quadratic_kappa),
        ):
            found[name] = smooth_figure(figure, confusion, variance, minimum_cell)
        return found

    def _brier(self, total: Floats, *, sd: float, minimum_cell: int) -> Estimate:
        """Mean of Σ(p − y)²/2 over patients, from the error's cell and the count of the ranking."""
        blocks = self._blocks()
        block, weight = "confusion", self.settings.confusion
        if block not in blocks:
            block, weight = "ranking", self.settings.ranking * math.sqrt(self.n_classes)
        part = blocks[block]
        count = float(total[part].sum()) / weight
        count_sd = sd * math.sqrt(part.stop - part.start) / weight
        if count < max(minimum_cell, 2):
            return SUPPRESSED
        error = float(total[blocks["error"].start]) / self.settings.error
        value = (error / count + 1.0) / 2.0
        # A square in [0, 1] varies by no more than its mean leaves to either side.
        spread = max(value * (1.0 - value), 0.0) / count
        noise = (sd / self.settings.error) ** 2 + (error / count * count_sd) ** 2
        margin = normal_quantile(0.95) * math.sqrt(spread + noise / (2.0 * count) ** 2)
        return bounded(value, margin)

    def _expected(self, n: float) -> Floats:
        """The total of ``n`` patients, few of the first grade; their scores tell neighbours apart."""
        c, b = self.n_classes, self.settings.bins
        blocks, total = self._blocks(), np.zeros(self.length(self.start()))
        middles = (np.arange(b) + 0.5) / b

        def bell(centre: float, width: float) -> Floats:
            weight: Floats = np.exp(-0.5 * ((middles - centre) / width) ** 2)
            shares: Floats = weight / weight.sum()
            return shares

        if "ranking" in blocks and self.rule.is_regression:
            cells = np.stack([bell((place + 0.5) / c, 1.0 / (1.5 * c)) for place in range(c)])
            shares = np.full(c, (1.0 - _SEVEREST) / (c - 1))
            shares[0] = _SEVEREST
            total[blocks["ranking"]] = (n * shares[:, None] * cells).ravel() * self.settings.ranking
        elif "ranking" in blocks:
            pair = np.stack([bell(0.35, 0.25) * (1.0 - 1.0 / c), bell(0.65, 0.25) / c])
            weight = self.settings.ranking / math.sqrt(c)
            total[blocks["ranking"]] = np.tile(n * pair.ravel(), c) * weight
        if "confusion" in blocks:
            cells = np.full((c, c), 0.3 / (c - 1)) + np.eye(c) * (0.7 - 0.3 / (c - 1))
            total[blocks["confusion"]] = (n / c * cells).ravel() * self.settings.confusion
        if "error" in blocks:
            total[blocks["error"].start] = -0.5 * n * self.settings.error
        return total
