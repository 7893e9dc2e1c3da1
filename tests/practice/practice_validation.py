"""Validation tables without a plan: of a predicted BMD, and of probabilities."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shared.contract.decision import Decision
from shared.contract.stages import BlockWeights
from shared.measure.table.rows import contributions
from shared.measure.table.spec import TableSpec

Floats = NDArray[np.float64]


def spec_of_numbers(
    *,
    cuts: tuple[float, ...] = (0.558,),
    label_cuts: tuple[float, ...] | None = None,
    bins: int = 8,
    scores: tuple[float, float] = (0.5, 0.75),
    targets: tuple[float, float] = (0.35, 1.0),
    error_high: float = 0.25,
    blocks: BlockWeights | None = None,
) -> TableSpec:
    """A low number is positive; the labels' cuts are those of the outputs unless they are given."""
    names = ("osteoporosis", "osteopenia", "normal") if len(cuts) == 2 else ("osteoporosis", "none")
    return TableSpec(
        rule=Decision(
            classes=names,
            endpoint=0,
            label_cuts=label_cuts or cuts,
            output_cuts=cuts,
            is_ordered=True,
        ),
        ranking="graded",
        blocks=blocks or BlockWeights(ranking=1.8, moments=1.0),
        bins=bins,
        score_low=scores[0],
        score_high=scores[1],
        target_low=targets[0],
        target_high=targets[1],
        error_high=error_high,
    )


def spec_of_probabilities(
    *classes: str, bins: int = 4, cut: float = 0.5, is_ordered: bool = False, **weights: float
) -> TableSpec:
    """The last class is the endpoint; one score grades two classes, and ordered ones."""
    names = classes or ("well", "ill")
    return TableSpec(
        rule=Decision(
            classes=names, endpoint=len(names) - 1, output_cuts=(cut,), is_ordered=is_ordered
        ),
        ranking="graded" if is_ordered or len(names) == 2 else "each",
        blocks=BlockWeights(**({"ranking": 1.0} | weights)),
        bins=bins,
        score_low=0.0,
        score_high=1.0,
    )


def rows_of_numbers(spec: TableSpec, prediction: Floats, target: Floats) -> Floats:
    """Rows [n, n_cells] of predictions [n] and targets [n]."""
    return contributions(spec, outputs=prediction[:, None], label=target)


def rows_of_scores(spec: TableSpec, score: Floats, is_positive: NDArray[np.bool_]) -> Floats:
    """Rows [n, n_cells] of the endpoint's probabilities [n] and of who has it [n]."""
    outputs = np.stack([1.0 - score, score], axis=1)
    return contributions(spec, outputs=outputs, label=is_positive.astype(np.float64))
