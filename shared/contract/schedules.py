"""Public schedules of a fusion: which steps, rate and messages suit how much noise.

A schedule is a table chosen on public synthetic films, never on patients. Its row follows from public
numbers alone: the promised ε and the sizes that the training sites declare. Imports the stages.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field

from shared.contract.stages import Fold
from shared.strict import FROZEN

# The schedule of a run that names none.
STANDARD = "standard"


class ScheduleRow(BaseModel):
    """One row: from which signal on it holds, and what it asks of a site.

    Attributes:
        from_signal: least signal, ε × declared training patients ÷ √sites; null: privacy off.
        learning_rate: of each step.
        rounds: messages of each site.
        local_steps: noised sums that a site draws in a round.
        fold: where sums become weights, at the site or the coordinator (``stages.GradientStage``).
        local_tail: share of a round's last steps that a site averages.
    """

    model_config = FROZEN

    from_signal: float | None = Field(default=None, ge=0)
    learning_rate: float = Field(gt=0, le=1e4)
    rounds: int = Field(ge=1)
    local_steps: int = Field(ge=1)
    fold: Fold = "site"
    local_tail: float = Field(default=0.0, ge=0, le=1)


def _in_order(rows: tuple[ScheduleRow, ...]) -> tuple[ScheduleRow, ...]:
    """Rows as they are, where they rise from 0 and end with the one of privacy off."""
    signals = [row.from_signal for row in rows]
    private = [signal for signal in signals if signal is not None]
    is_rising = all(low < high for low, high in pairwise(private))
    if signals != [*private, None] or private[:1] not in ([], [0]) or not is_rising:
        raise ValueError(
            f"from_signal must rise from 0, and be null in the last row only, not {signals}"
        )
    return rows


ScheduleRows = Annotated[tuple[ScheduleRow, ...], Field(min_length=1), AfterValidator(_in_order)]


def signal_of(epsilon: float, declared: Sequence[int]) -> float:
    """How far the patients' sum stands out of the noise of the sites: ε·Σn/√s.

    A sum's noise grows as 1/ε, and s sites add theirs independently, √s times one site's; what n
    patients add grows as n. Learning rates go by this ratio, whichever of the three makes it.

    Args:
        epsilon: promised to a patient by training, above 0.
        declared: patients that each of the s training sites declares.
    """
    return epsilon * sum(declared) / math.sqrt(len(declared))


def choose_row(rows: Sequence[ScheduleRow], signal: float | None) -> ScheduleRow:
    """The last row that a signal reaches; where there is none, the last of all, for privacy off."""
    reached = [
        row
        for row in rows
        if signal is not None and row.from_signal is not None and row.from_signal <= signal
    ]
    return reached[-1] if reached else rows[-1]
