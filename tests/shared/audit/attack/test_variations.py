"""A plan's training as attacks vary it: nothing else of it changes."""

from __future__ import annotations

import pytest
from practice_attack import attacked_plan
from practice_patients import practice_settings, read
from practice_plan import plan_of

from shared.audit.attack.variations import in_every_step, training_of, without_privacy
from shared.contract.settings import read_settings
from shared.contract.stages import GradientStage, LearnerStage
from shared.errors import AuditError


def sampled() -> GradientStage:
    stage = training_of(attacked_plan(2, {"aster": 60}, epsilon=3.0))
    assert isinstance(stage, GradientStage)
    return stage.model_copy(update={"sample_rate": 0.2, "canaries": 8})


def test_without_privacy_nobody_is_sampled_and_nothing_is_noised() -> None:
    stage = sampled()
    found = without_privacy(stage)
    GradientStage.model_validate(found.model_dump())  # it is a stage that a plan could have
    assert not found.is_private
    assert (found.noise_multiplier, found.sample_rate, found.canaries) == (0.0, 1.0, 0)
    assert (found.rounds, found.learning_rate) == (stage.rounds, stage.learning_rate)


def test_a_patient_who_is_drawn_for_every_step_still_meets_the_noise() -> None:
    stage = sampled()
    assert in_every_step(stage) == stage.model_copy(update={"sample_rate": 1.0})


def test_a_learner_is_attacked_with_its_sums_and_without_noise() -> None:
    settings = practice_settings("linear").model_dump(mode="json")
    settings |= {"learner": read("learner/second_moments")}
    stage = training_of(plan_of(read_settings(settings), {"aster": 60}))
    assert isinstance(stage, LearnerStage)
    found = without_privacy(stage)
    assert (found.release_class, found.noise_multipliers) == ("off", (0.0,))
    assert found.rounds == stage.rounds


def test_a_plan_that_only_measures_cannot_be_attacked() -> None:
    plan = attacked_plan(2, {"aster": 60}, epsilon=3.0)
    measuring = plan.model_copy(update={"stages": plan.tables})
    with pytest.raises(AuditError, match="trains nothing"):
        training_of(measuring)
