"""The one table of kinds: every kind of stage has its sum, and both sides build the same."""

from __future__ import annotations

from typing import get_args

import pytest
from practice_learners import learner_plan
from practice_patients import practice_settings
from practice_plan import plan_of

from shared.contract.plan import Plan
from shared.contract.settings import ValidationSettings
from shared.contract.stages import (
    DescriptionStage,
    GradientStage,
    LearnerStage,
    MeasureStage,
    Stage,
    TableStage,
)
from shared.stages.description import DescriptionSum
from shared.stages.gradient import GradientSum
from shared.stages.kinds import KINDS, sum_of
from shared.stages.learner import LearnerSum
from shared.stages.measure import MeasureSum
from shared.stages.table import TableSum

SITES = {"aster": 60, "birch": 90}
SUMS = {
    GradientStage: GradientSum,
    LearnerStage: LearnerSum,
    TableStage: TableSum,
    MeasureStage: MeasureSum,
    DescriptionStage: DescriptionSum,
}


def plans() -> list[Plan]:
    """Plans that have a stage of every kind among them."""
    errors = {
        "groups": ["internal"],
        "epsilon": 2.0,
        "measure": {"kind": "errors", "edges": [0.1, 0.2]},
    }
    described = ValidationSettings(description_epsilon=1.0, score_low=0.3, target_low=0.3)
    settings = practice_settings("linear").model_copy(update={"validation": described})
    return [plan_of(settings, SITES), learner_plan("ridge", SITES, measures={"errors": errors})]


def test_every_kind_of_stage_has_its_sum_in_the_table() -> None:
    union, _ = get_args(Stage)
    kinds = set(get_args(union))
    assert kinds == set(SUMS)
    assert set(KINDS) == {kind.model_fields["kind"].default for kind in kinds}


@pytest.mark.parametrize("plan", plans(), ids=["gradient", "learner"])
def test_a_stage_gets_the_sum_of_its_kind_with_a_bound_of_the_length_that_is_sent(plan: Plan) -> None:
    for stage in plan.stages:
        asked, again = (sum_of(plan, stage, encoder_file=None) for _ in range(2))
        assert type(asked) is SUMS[type(stage)]
        bound, same = asked.bound(1), again.bound(1)
        assert (bound.length, bound.kind) == (same.length, same.kind)
        assert bound.length > 0
        assert asked.start().vector.dtype.str == asked.state_kind
        assert asked.largest(1, declared_patients=5) > 0


def test_the_plans_have_a_stage_of_every_kind() -> None:
    assert {type(stage) for plan in plans() for stage in plan.stages} == set(SUMS)
