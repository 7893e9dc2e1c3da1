"""A plan in a few lines: its own numbers, and words where nothing is promised."""

from __future__ import annotations

from pathlib import Path

import pytest
from practice_patients import practice_settings, read
from practice_plan import plan_of
from practice_report import NOISE, found_run

from server.report.plan_facts import plan_facts
from shared.contract.settings import read_settings
from shared.privacy.accountant import gaussian_epsilon


def test_plan_facts_are_the_plans(tmp_path: Path) -> None:
    facts = plan_facts(found_run(tmp_path, noise=NOISE).plan)
    assert facts["rounds × steps"] == "3 × 1 = 3 steps"
    assert facts["folded at"] == "site"
    assert facts["model"] == "none + clinical_only"
    epsilon = gaussian_epsilon(1 / NOISE, 1e-5)
    assert facts["epsilon, validation patient"] == pytest.approx(epsilon, abs=1e-6)
    assert facts["epsilon, description"] == "none is released"


def test_a_plan_without_privacy_says_so(tmp_path: Path) -> None:
    facts = plan_facts(found_run(tmp_path).plan)
    assert facts["epsilon, training patient"] == "no formal privacy guarantee"
    assert str(facts["epsilon, validation patient"]).startswith("governed")


def test_a_plan_that_only_measures_has_no_training_to_tell(tmp_path: Path) -> None:
    plan = found_run(tmp_path, noise=NOISE).plan
    facts = plan_facts(plan.model_copy(update={"stages": plan.tables}))
    assert not {"rounds × steps", "clip norm", "epsilon, training patient"} & set(facts)
    assert "epsilon, validation patient" in facts


def test_a_learner_is_told_by_its_name_and_its_sums() -> None:
    settings = practice_settings("linear").model_dump(mode="json")
    settings |= {"learner": read("learner/second_moments")}
    facts = plan_facts(plan_of(read_settings(settings), {"aster": 60}))
    assert (facts["learner"], facts["sums"]) == ("second_moments", 2)
    assert "clip norm" not in facts
