"""What the stage that trained says of a run: what a round's total is, and how totals are put together.

Page, pictures and the demo take their words from here, so that none calls leaf counts weights.
Imports the contract's stages and results.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from server.report.results import TrainingResult
from shared.contract.stages import GradientStage, LearnerStage, Stage

_TOTALS = {
    "changes": "changes of the trained weights",
    "gradients": "sums of patients' gradients",
    "rows": "sums of one bounded row per patient",
}
_COMBINED = {
    "shares": "weight is a site's fixed share in every average, set in the plan from the size the "
    "hospital declared in public.",
    "alike": "sites have no weight: the plan's robust rule counts each alike, whatever its size.",
    "added": "sites have no weight: their totals are added, so each patient counts alike; declared "
    "sizes say how many patients that is.",
}
# Lengths beyond so many are told by their range.
_MOST_LENGTHS = 3


def training_of(stage: Stage, lengths: Sequence[int]) -> TrainingResult:
    """What a stage's totals were.

    Args:
        stage: of the plan, the one that trained.
        lengths: numbers of a site's total in each round.
    """
    told = tuple(lengths)
    if not isinstance(stage, GradientStage):
        return TrainingResult(total="rows", combined="added", lengths=told)
    is_folded, is_robust = stage.fold == "coordinator", stage.strategy.is_robust
    combined: Literal["shares", "added"] = "added" if is_folded else "shares"
    return TrainingResult(
        total="gradients" if is_folded else "changes",
        combined="alike" if is_robust else combined,
        lengths=told,
    )


def write_totals(training: TrainingResult | None) -> str:
    """What left a site in training, in words, with how many numbers."""
    if training is None:
        return "nothing, since nothing was trained"
    lengths, words = list(dict.fromkeys(training.lengths)), _TOTALS[training.total]
    if not lengths:
        return words
    if len(lengths) > _MOST_LENGTHS:
        return f"{words} ({min(lengths):,} to {max(lengths):,} numbers a round)"
    numbers = " and ".join(f"{length:,}" for length in lengths)
    once = "numbers, once" if len(training.lengths) == 1 else "numbers a round"
    return f"{words} ({numbers} {once if len(lengths) == 1 else 'numbers, by round'})"


def write_combination(training: TrainingResult | None) -> str:
    """How the sites' totals are put together, and what a site's weight in that is."""
    if training is None:
        return "training sites are those that trained the release that is measured here."
    return _COMBINED[training.combined]


def write_release(stage: Stage, n_numbers: int) -> str:
    """What a release holds: weights of a model, or the numbers of a learner's last state."""
    if isinstance(stage, LearnerStage):
        return f"{n_numbers:,} numbers of {stage.learner.kind}"
    return f"{n_numbers:,} trained weights"
