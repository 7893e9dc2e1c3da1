"""What a table's cells mean, where each block lies, and how far one patient can move them.

Blocks, each with its own weight in a patient's row (``BlockWeights``); one of weight 0 is left out:

    ranking     where one score grades the classes: one-hot over class × bin of the score. Where each
                class has a score of its own: for each class a one-hot over (is not, is) × bin, at 1/√c
                of the weight
    moments     in regression, each in [−1, 1] times its own weight, with u the target and v the error
                (prediction − target) scaled to [−1, 1] by public bounds:
                1, u, 2u² − 1, v, 2|v| − 1, 2v² − 1, u·v
    confusion   one-hot over true × called class, where the ranking does not hold who is called what
    error       the Brier score as one cell in [−1, 1]

2x − 1 instead of x doubles the resolution of a quantity in [0, 1] at the same sensitivity, because the
count is known from other cells. Weights decide only how the noise is shared out. Classes stand with the
endpoint first, graded ones by falling severity. Imports settings, stages and the decision only.
Legend: c classes · b bins · m cells.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from shared.contract.decision import Decision, decision_of
from shared.contract.model_settings import ModelSettings
from shared.contract.stages import BlockWeights, Ranking, TableStage
from shared.errors import SettingsError

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

# moments in cell order, and the share of the block's weight each has (larger = less noise)
MOMENT_WEIGHTS: dict[str, float] = {
    "count": 1.0,
    "target": 0.5,
    "target_squared": 1.0,
    "error": 0.35,
    "error_absolute": 0.35,
    "error_squared": 1.0,
    "target_error": 0.5,
}


@dataclass(frozen=True, kw_only=True)
class TableSpec:
    """What a table's cells mean. Public: the plan alone determines it.

    The cuts of the decision are bin edges wherever the score is what it cuts: a patient is called
    positive at score ≤ cut where a low one is suspicious, else at score ≥ cut.
    """

    rule: Decision
    ranking: Ranking
    blocks: BlockWeights
    bins: int
    score_low: float
    score_high: float
    target_low: float = 0.0
    target_high: float = 1.0
    error_high: float = 1.0

    @property
    def n_classes(self) -> int:
        """c."""
        return len(self.rule.classes)

    @property
    def order(self) -> tuple[int, ...]:
        """Places of the decision's classes as they stand here, the endpoint first."""
        places, endpoint = range(self.n_classes), self.rule.endpoint
        if self.ranking == "graded" and endpoint:
            return tuple(reversed(places))
        return (endpoint, *(place for place in places if place != endpoint))

    @property
    def classes(self) -> tuple[str, ...]:
        """Names, in this order."""
        return tuple(self.rule.classes[place] for place in self.order)

    @property
    def positive_is_low(self) -> bool:
        """Whether a low score is suspicious."""
        return self.rule.is_low_positive

    @property
    def has_moments(self) -> bool:
        """Whether targets and errors are summed."""
        return self.blocks.moments > 0

    @property
    def cuts(self) -> tuple[float, ...]:
        """Of the score, rising, each a bin edge; none where an order of three classes has no cut."""
        is_cut = self.rule.is_regression or self.ranking == "each" or self.n_classes == 2
        return self.rule.output_cuts if is_cut else ()

    @property
    def states_probability(self) -> bool:
        """Whether the bins are of the endpoint's probability; those of an order's one score are not."""
        return not self.rule.is_regression and bool(self.cuts)

    @property
    def cell_weight(self) -> float:
        """Of a patient in a cell of the ranking."""
        return self.blocks.ranking / (math.sqrt(self.n_classes) if self.ranking == "each" else 1.0)

    @property
    def parts(self) -> Mapping[str, slice]:
        """Where each block that has a weight lies."""
        c, b = self.n_classes, self.bins
        sizes = {
            "ranking": c * b if self.ranking == "graded" else 2 * c * b,
            "moments": len(MOMENT_WEIGHTS) if self.blocks.moments else 0,
            "confusion": c * c if self.blocks.confusion else 0,
            "error": 1 if self.blocks.error else 0,
        }
        parts, start = {}, 0
        for name, size in sizes.items():
            if size:
                parts[name] = slice(start, start + size)
                start += size
        return parts

    @property
    def n_cells(self) -> int:
        """m, the length of a table."""
        return sum(part.stop - part.start for part in self.parts.values())

    @property
    def cut_bins(self) -> tuple[int, ...]:
        """How many bins lie below each cut; bins are as equally wide as edges at the cuts allow."""
        found: list[int] = []
        for place, cut in enumerate(self.cuts):
            share = (cut - self.score_low) / (self.score_high - self.score_low)
            least = found[-1] + 1 if found else 1
            most = self.bins - (len(self.cuts) - place)
            found.append(min(max(round(share * self.bins), least), most))
        return tuple(found)

    @property
    def inner_edges(self) -> Floats:
        """Edges between bins [bins − 1]; the end bins reach to ±infinity."""
        ends = (self.score_low, *self.cuts, self.score_high)
        counts = (0, *self.cut_bins, self.bins)
        parts = [
            np.linspace(low, high, after - before + 1)[1:]
            for (low, high), (before, after) in zip(pairwise(ends), pairwise(counts), strict=True)
        ]
        return np.concatenate(parts)[:-1]


def table_spec(settings: ModelSettings, stage: TableStage) -> TableSpec:
    """The table of a stage.

    Raises:
        SettingsError: a cut is not inside the score range, there are too few bins for the cuts, or a
            block does not go with the task.
    """
    spec = TableSpec(
        rule=decision_of(settings),
        ranking=stage.ranking,
        blocks=stage.blocks,
        bins=stage.bins,
        score_low=stage.score_low,
        score_high=stage.score_high,
        target_low=stage.target_low,
        target_high=stage.target_high,
        error_high=stage.error_high,
    )
    _require_probabilities(spec)
    _require_cuts_inside(spec)
    _require_blocks_of_task(spec)
    return spec


def sensitivity(spec: TableSpec) -> float:
    """Largest L2 norm of a row, attained: how far one patient can move the table (add/remove)."""
    return row_norm(spec.blocks)


def row_norm(blocks: BlockWeights) -> float:
    """The same of a table of however many bins: a patient stands in one of them."""
    moments = math.hypot(*MOMENT_WEIGHTS.values())
    return math.hypot(blocks.ranking, blocks.moments * moments, blocks.confusion, blocks.error)


def _require_probabilities(spec: TableSpec) -> None:
    if not spec.rule.is_regression and (spec.score_low, spec.score_high) != (0.0, 1.0):
        raise SettingsError(
            "scores-no-probabilities",
            f"validation.score_low and score_high of classes must be 0 and 1, not {spec.score_low} "
            f"and {spec.score_high}",
            hint="choose validation=probability",
        )


def _require_cuts_inside(spec: TableSpec) -> None:
    outside = [cut for cut in spec.cuts if not spec.score_low < cut < spec.score_high]
    if outside:
        raise SettingsError(
            "threshold-outside-scores",
            f"the operating point {outside[0]} must lie between validation.score_low "
            f"{spec.score_low} and validation.score_high {spec.score_high}",
            hint="choose the validation group that fits the task: bmd or probability",
        )
    if len(spec.cuts) >= spec.bins:
        raise SettingsError(
            "too-few-bins",
            f"validation.bins must be above {len(spec.cuts)}, a bin for each class, not {spec.bins}",
            hint="ask for more bins, or set validation.bins to null",
        )


def _require_blocks_of_task(spec: TableSpec) -> None:
    is_regression, called_by_bin = spec.rule.is_regression, spec.n_classes == 2
    wrong = [
        name
        for name, is_wrong in (
            ("moments", not is_regression and spec.blocks.moments),
            ("confusion", (is_regression or called_by_bin) and spec.blocks.confusion),
            ("error", is_regression and spec.blocks.error),
        )
        if is_wrong
    ]
    if wrong:
        raise SettingsError(
            "block-not-needed",
            f"validation.blocks: {', '.join(wrong)} must be 0 or null: "
            f"{'a predicted number' if is_regression else f'{spec.n_classes} classes'} "
            "has no such block, or the ranking holds it",
            hint="moments are of a predicted number, the error of classes, confusion of three or more",
        )
