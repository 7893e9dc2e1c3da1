"""The one table from the kind of a stage to its sum. Imports every kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from shared.contract.plan import Plan
from shared.contract.stages import Stage
from shared.stages.description import DescriptionSum
from shared.stages.gradient import GradientSum
from shared.stages.learner import LearnerSum
from shared.stages.measure import MeasureSum
from shared.stages.stage_sum import StageSum
from shared.stages.table import TableSum

KINDS: Mapping[str, Callable[[Plan, Any, Path | None], StageSum]] = {
    "gradient": GradientSum,
    "learner": LearnerSum,
    "measure": MeasureSum,
    "table": TableSum,
    "description": DescriptionSum,
}


def sum_of(plan: Plan, stage: Stage, *, encoder_file: Path | None) -> StageSum:
    """The sum that a stage of a plan asks for.

    Args:
        plan: the whole plan.
        stage: one of its stages.
        encoder_file: this machine's copy of the plan's encoder, where a stage learns in it.

    Raises:
        SettingsError: the settings cannot be built, or an encoder that learns is not at hand.
        WeightsError: the encoder's file is not the plan's.
    """
    return KINDS[stage.kind](plan, stage, encoder_file)
